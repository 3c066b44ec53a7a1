"""Plan segmented_sm90 in the interpreter of Gluon, against the recurrence, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

import gdn_ops
from gdn_ops.codegen.axis import Value
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.rule import Rule
from gdn_ops.codegen.targets import target_named
from gdn_ops.codegen.variant import Variant
from gdn_ops.gluon_interpreter import scheduled
from gdn_ops.verify.accuracy_gate import verify
from tests.close import assert_close
from tests.codegen.kernels.segment_case import (
    CHUNKS,
    SEG,
    call_of,
    launcher_of,
    state_after,
    walked,
)
from tests.codegen.kernels.segment_gradient_case import (
    backward_call,
    backward_launcher,
    check_gradients,
    gradient_before,
    gradients_given,
)
from tests.codegen.kernels.segment_gradient_case import walked as walked_back
from tests.gdn_ops.ops.calls import call, expected
from tests.stage_runner import POISON

PLAN = "segmented_sm90"
MAP = "segment_map_sm90"
BT = CHUNKS[PLAN]
CUT = BT * SEG
CASES: dict[str, dict[str, Any]] = {
    "three segments, the last one ragged, no decay": {"T": 2 * CUT + 70, "gate": "zero", "HV": 1},
    "packed, some empty or short": {"T": 300, "offsets": [0, 0, 5, 12 + CUT, 12 + CUT, 290]},
    "no gate": {"T": CUT + 130, "gate": "none", "HV": 1},
    "two key heads": {"T": CUT + 70, "H": 2, "HV": 4},
    "exactly two segments, three value heads per key head": {"T": 2 * CUT, "HV": 3},
    "several rows": {"T": CUT + 1, "B": 3},
    "decays at once": {"T": 3 * CUT - 10, "gate": "strong"},
    "packed, no decay": {"T": 700, "gate": "zero", "offsets": [0, 600, 601, 690]},
    "packed without states": {"T": 600, "offsets": [0, 3, 530], "state": False},
    "heads of 128": {"T": 2 * CUT + 70, "K": 128, "V": 128},
    "heads of 128, no decay, fp16": {
        "T": CUT + 70,
        "K": 128,
        "V": 128,
        "gate": "zero",
        "dtype": torch.float16,
    },
}
SAMPLE = tuple(CASES)[:3]
SEEDS = 20
PROBLEM = Problem(
    op="forward", H=2, HV=8, K=128, V=128, dtype="bf16", tokens=32768, sequences=1,
    final_state=True,
)  # fmt: skip
H200 = target_named("h200")


def arguments_of(**facts: Any) -> dict[str, Any]:
    return call(**{"B": 1, "H": 1, "HV": 2, "K": 64, "V": 64, "dtype": torch.bfloat16, **facts})


def check(name: str, seeds: int, **slots: Value) -> None:
    """Compare with fp64, and the bits of each order of the partitions with those of the first."""
    arguments = arguments_of(**CASES[name])
    launcher = launcher_of(arguments, {MAP: slots, "segment_scan_sm90": slots}, PLAN)
    o_ref, ht_ref = expected(arguments)
    with scheduled(0):
        o, ht = launcher(call_of(arguments))
    assert ht is not None
    cu = arguments["cu_seqlens"]
    end = o.shape[1] if cu is None else int(cu[-1])
    assert_close("o", o_ref[:, :end], o[:, :end], 5e-3)
    assert not o[:, end:].any()
    assert_close("final state", ht_ref, ht, 5e-3)
    for seed in range(1, seeds):
        with scheduled(seed):
            again = launcher(call_of(arguments))
        assert again[1] is not None
        assert torch.equal(o, again[0]) and torch.equal(ht, again[1]), seed


@pytest.mark.triton
@pytest.mark.parametrize("name", SAMPLE)
def test_segments_compute_the_rule_with_equal_bits_in_two_orders(name: str) -> None:
    check(name, seeds=2)


@pytest.mark.exhaustive
@pytest.mark.parametrize("slots", [2, 3])
@pytest.mark.parametrize("name", CASES)
def test_every_case_in_twenty_orders(name: str, slots: int) -> None:
    check(name, SEEDS, slots=slots)


def test_a_walk_starts_where_the_decay_hides_what_came_before() -> None:
    x = arguments_of(T=CUT + 1, gate="zero")
    x["g"][:, BT : 2 * BT, 0] = -1.0
    x["v"][:, :BT, 0] = float("nan")
    found = walked(x, until=MAP, plan=PLAN)
    assert found["whole"].tolist() == [[0, 1], [POISON, POISON]]
    eye, zero = torch.eye(64).expand(2, 64, 64), torch.zeros(2, 64, 64)
    hidden = state_after(x, 0, slice(BT, CUT), zero)[0]
    assert_close("h_local from its second chunk", hidden, found["h_local"][0, 0], 5e-3)
    assert found["M"][0, 0].isnan().all()
    segment = slice(0, CUT)
    assert_close("h_local", state_after(x, 0, segment, zero)[1], found["h_local"][0, 1], 5e-3)
    assert_close("M", state_after(x, 0, segment, eye, v=False)[1], found["M"][0, 1], 5e-3)
    for name in ("M", "h_local"):
        assert found[name][1].isnan().all(), "nothing reads a sequence's last segment"


def test_no_final_state() -> None:
    arguments = arguments_of(T=CUT + 20, HV=1) | {"output_final_state": False}
    o, ht = launcher_of(arguments, plan=PLAN)(call_of(arguments))
    assert_close("o", expected(arguments)[0], o, 5e-3)
    assert ht is None


@pytest.mark.triton
def test_gradients_of_two_segments() -> None:
    check_gradients(arguments_of(T=CUT + 20, HV=1, gate="zero"), plan=PLAN)


def test_a_walk_back_starts_where_the_decay_hides_what_comes_after() -> None:
    x = arguments_of(T=2 * CUT + 1, HV=1, gate="zero")
    x["g"][:, CUT + BT : CUT + 2 * BT] = -1.0
    own = slice(CUT, CUT + 2 * BT)
    given = gradients_given(x)
    do, dht = given["do"], given["dht"]
    assert do is not None and dht is not None
    do[:, own.stop : 2 * CUT] = float("nan")
    found = walked_back(x, given, until="segment_bwd_map_sm90")["dh_local"]
    zero = torch.zeros(1, 64, 64, dtype=torch.float64)
    assert_close("dh_local", gradient_before(x, 0, own, do, zero), found[1], 8e-3)
    last = gradient_before(x, 0, slice(2 * CUT, None), do, dht[0].double())
    assert_close("dh_local of the last segment", last, found[2], 8e-3)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", CASES)
def test_gradients_of_every_case_in_five_orders(name: str) -> None:
    x = arguments_of(**CASES[name])
    with scheduled(0):
        first = check_gradients(x, plan=PLAN)
    launcher = backward_launcher(x, plan=PLAN)
    for seed in range(1, 5):
        with scheduled(seed):
            again = launcher.gradients(backward_call(x, gradients_given(x)))
        for gradient, value in first.items():
            assert torch.equal(value, again[gradient]), (gradient, seed)


@pytest.mark.exhaustive
def test_the_public_function_by_the_defaults() -> None:
    arguments = arguments_of(T=1100, HV=1)
    with gdn_ops.using(PLAN), torch.no_grad():
        o, ht = gdn_ops.chunk_gated_delta_rule(**arguments)
    o_ref, ht_ref = expected(arguments)
    assert ht is not None
    assert_close("o", o_ref, o, 5e-3)
    assert_close("final state", ht_ref, ht, 5e-3)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"varlen": True, "initial_state": True},
        {"rule": Rule("none")},
        {"K": 128, "V": 128},
        {"op": "backward"},
        {"op": "backward", "varlen": True, "initial_state": True},
    ],
)
def test_the_accuracy_gate_passes(changes: dict[str, Any]) -> None:
    problem = replace(PROBLEM, **{"K": 64, "V": 64, "HV": 4, **changes})
    verdict = verify(problem, Variant.of(PLAN, problem, {"SEG": SEG}), interpret=True)
    assert verdict.status == "ok", verdict.message
    assert "more than a segment, gate model" in [case.name for case in verdict.cases]


@pytest.mark.parametrize(
    ("changes", "target", "reasons"),
    [
        ({}, "h200", []),
        ({"varlen": True, "rule": Rule("none")}, "h200", []),
        ({}, "b200", ["segmented_sm90 is a Gluon kernel for sm_90, and b200 is sm_100"]),
        (
            {"dtype": "fp32"},
            "h200",
            ["segmented_sm90 multiplies 16-bit tiles; q, k, v are fp32"],
        ),
        ({"op": "backward"}, "h200", []),
        (
            {"rule": Rule("scalar", False)},
            "h200",
            ["plan segmented_sm90 computes the delta rule, not scalar-linear"],
        ),
        (
            {"sequences": 256},
            "h200",
            [
                "SEG=4 with BT=64 makes segments of 256 tokens, and no sequence has more than 128; "
                "use plan fused_sm90"
            ],
        ),
    ],
)
def test_what_it_refuses(changes: dict[str, Any], target: str, reasons: list[str]) -> None:
    problem = replace(PROBLEM, **changes)
    assert Variant.default(PLAN, problem).reasons(problem, target_named(target)) == reasons


def test_it_takes_three_launches_more_than_fused_sm90_and_two_without_a_gate() -> None:
    for rule, more in ((Rule("scalar"), 3), (Rule("none"), 2)):
        problem = replace(PROBLEM, rule=rule)
        own, whole = (Variant.default(plan, problem).stages for plan in (PLAN, "fused_sm90"))
        assert len(own) == len(whole) + more


@pytest.mark.parametrize(
    ("changes", "SEG"),
    [
        ({}, 64),  # 512 chunks, and 8 times 16 programs
        ({"sequences": 2}, 64),
        ({"HV": 64}, 256),  # two segments
        ({"tokens": 2048}, 8),  # no more than 5 steps of segment_carry
        ({"tokens": 10**6}, 256),
        ({"tokens": 300}, 4),
    ],
)
def test_the_default_gives_each_sm_a_program(changes: dict[str, Any], SEG: int) -> None:
    problem = replace(PROBLEM, **changes)
    variant = Variant.default(PLAN, problem)
    assert dict(variant.interface)["SEG"] == SEG
    assert Variant.from_text(str(variant), problem) == variant
    assert dict(Variant.of(PLAN, problem, {"SEG": 128}).interface)["SEG"] == 128
