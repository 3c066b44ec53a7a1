from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.variant import Variant
from gdn_ops.verify.accuracy import NOT_FINITE, bar, first_wrong, rms_error, same_bits
from gdn_ops.verify.gate_cases import Case, first_use_cases, gate_cases
from gdn_ops.verify.poison import poisoned_memory

PROBLEM = Problem(
    op="forward", H=16, HV=32, K=128, V=64, dtype="bf16", tokens=4096, sequences=2,
    final_state=True,
)  # fmt: skip
CHUNKS = (16, 32, 64, 128)


def listed(problem: Problem, BT: int = 64, *, gpu: bool = False, interpret: bool = False):
    return gate_cases(problem, BT=BT, gpu=gpu, interpret=interpret)


def lengths(cases: tuple[Case, ...]) -> list[int]:
    return [length for case in cases for length in case.layout.lengths]


@pytest.mark.parametrize("varlen", [False, True])
@pytest.mark.parametrize("BT", CHUNKS)
def test_sequences_are_shorter_equal_longer_and_ragged_for_every_chunk(BT: int, varlen) -> None:
    found = lengths(listed(replace(PROBLEM, varlen=varlen), BT))
    assert {1, 13, BT} <= set(found)
    assert any(length > 2 * BT and length % BT for length in found)
    assert (0 in found) == varlen
    assert max(found) >= 1500


@pytest.mark.parametrize("varlen", [False, True])
@pytest.mark.parametrize("BT", CHUNKS)
def test_the_interpreter_gets_two_ragged_chunks_and_little_else(BT: int, varlen: bool) -> None:
    found = lengths(listed(replace(PROBLEM, varlen=varlen), BT, interpret=True))
    assert {1, BT, BT + 5} <= set(found)
    assert max(found) == BT + 5


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize("op", ["forward", "decode"])
def test_cases_keep_what_decides_the_kernel(op: str, gpu: bool) -> None:
    problem = replace(PROBLEM, op=op, initial_state=True, gate_in_kernel=True)
    for case in listed(problem, gpu=gpu):
        same = ("op", "rule", "K", "V", "group", "dtype", "varlen", "gate_in_kernel", "dt_bias")
        assert all(getattr(case.problem, name) == getattr(problem, name) for name in same)
        assert case.problem.tokens == sum(case.layout.lengths) + case.layout.tail
        heads = (case.problem.H, case.problem.HV)
        assert heads == ((16, 32) if gpu else (2, 4))


@pytest.mark.parametrize("initial", [False, True])
@pytest.mark.parametrize("final", [False, True])
def test_states_are_given_and_left_out_whatever_the_problem_says(initial, final) -> None:
    problem = replace(PROBLEM, initial_state=initial, final_state=final)
    seen = {(c.problem.initial_state, c.problem.final_state) for c in listed(problem)}
    assert seen == {(initial, final), (True, True), (False, False)}


def test_decode_is_one_token_a_sequence() -> None:
    assert set(lengths(listed(replace(PROBLEM, op="decode", tokens=2)))) == {1}
    packed = replace(PROBLEM, op="decode", tokens=2, varlen=True)
    assert set(lengths(listed(packed))) == {0, 1}


def test_names_of_cases_differ() -> None:
    names = [case.name for case in listed(PROBLEM)]
    assert len(set(names)) == len(names)


def variant(problem: Problem, **dots: str) -> Variant:
    return Variant.of("split", problem, stages={stage: {"dot": dot} for stage, dot in dots.items()})


@pytest.mark.parametrize(
    ("dtype", "dots", "limit"),
    [
        ("bf16", {}, 5e-3),
        ("fp16", {"chunk_h": "ieee"}, 5e-3),
        ("fp32", {}, 1e-5),
        ("fp32", {"chunk_h": "tf32x3"}, 1e-4),
        ("fp32", {"chunk_h": "tf32x3", "chunk_o": "tf32"}, 5e-3),
    ],
)
def test_the_bar_follows_the_coarsest_precision(dtype: str, dots, limit: float) -> None:
    problem = replace(PROBLEM, dtype=dtype)
    stages = ("solve", "chunk_wu", "chunk_h", "chunk_o") if dtype == "fp32" else ()
    ieee = dict.fromkeys(stages, "ieee")
    assert bar("o", problem, variant(problem, **{**ieee, **dots})) == pytest.approx(limit)


def test_gradients_and_narrow_keys_have_wider_bars() -> None:
    default = Variant.default("torch", PROBLEM)
    assert bar("dq", PROBLEM, default) == 8e-3
    assert bar("dbeta", PROBLEM, default, slack=2.0) == 4e-2
    assert bar("ht", replace(PROBLEM, K=16), default) == pytest.approx(1e-2)


def test_the_error_is_relative_and_nan_is_infinitely_wrong() -> None:
    ref = torch.full((4, 3), 2.0, dtype=torch.float64)
    assert rms_error(ref.float() * 1.01, ref) == pytest.approx(0.01, rel=1e-4)
    assert rms_error(torch.full((4, 3), float("nan")), ref) == NOT_FINITE
    assert rms_error(torch.zeros(0, 3), torch.zeros(0, 3)) == 0.0


def test_a_fault_is_placed_in_its_sequence() -> None:
    ref = torch.ones(1, 10, 2, 4, dtype=torch.float64)
    out = ref.float().clone()
    out[0, 7, 1] = float("nan")
    out[0, 9, 0] = 2.0
    expected = "first at token 3 of sequence 2, value head 1"
    assert first_wrong("o", out, ref, 1e-3, [0, 4, 4, 10]) == expected
    state = torch.ones(3, 2, 4, 4)
    damaged = state.clone()
    damaged[2, 1] = 0
    assert first_wrong("ht", damaged, state, 1e-3, []) == "first in value head 1 of sequence 2"


def test_equal_bits_are_more_than_equal_numbers() -> None:
    nan = torch.tensor([float("nan"), 1.0])
    assert same_bits(nan, nan.clone())
    assert not same_bits(torch.tensor([0.0]), torch.tensor([-0.0]))


def test_poisoned_memory_is_nan_and_guarded_until_it_ends() -> None:
    allocators = (torch.empty, torch.empty_like, torch.Tensor.new_empty)
    with poisoned_memory() as guards:
        like = torch.zeros(2, 3, dtype=torch.float16)
        floats = [
            torch.empty(2, 3), torch.empty((2, 3), dtype=torch.bfloat16), torch.empty_like(like),
            like.new_empty(2, 3), torch.empty_strided((2, 3), (1, 2)), like.new_empty((2, 3)),
        ]  # fmt: skip
        assert all(x.isnan().all() and x.shape == (2, 3) for x in floats)
        assert floats[2].dtype == torch.float16
        assert torch.empty(3, dtype=torch.int32).shape == (3,)
        assert guards.overwritten() == ""
        floats[0].as_strided((7,), (1,))[6] = 1.0
        assert guards.overwritten() == "it writes past the end of a tensor [2, 3]"
    assert (torch.empty, torch.empty_like, torch.Tensor.new_empty) == allocators


@pytest.mark.parametrize("op", ["forward", "backward", "decode", "pool"])
@pytest.mark.parametrize("varlen", [False, True])
def test_a_first_use_runs_few_small_cases_of_the_kernels_at_hand(op: str, varlen: bool) -> None:
    states = {"initial_state": True} if op in ("decode", "pool") else {}
    problem = replace(PROBLEM, op=op, varlen=varlen, **states)
    cases = first_use_cases(problem, BT=64)
    assert {case.problem.without_sizes() for case in cases} == {problem.without_sizes()}
    assert cases[0].every_repeat and 3 <= len(cases) <= 8
    assert max(case.problem.tokens for case in cases) <= 4 * 64 + 5
    assert {"strong", "open"} <= {case.recipe.gate for case in cases}
    if op in ("forward", "backward"):
        assert max(lengths(cases)) > 2 * 64, "loops over chunks reach their steady state"
        assert (0 in lengths(cases)) == varlen
    with_segments = first_use_cases(problem, BT=64, segment=256)
    if op in ("forward", "backward"):
        assert max(lengths(with_segments)) == 261
