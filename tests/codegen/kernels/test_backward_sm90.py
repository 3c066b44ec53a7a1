"""Stages bwd_walks_sm90 and bwd_grads_sm90 in the interpreter of Gluon, against fp64."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

from gdn_ops.codegen.axis import Value
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.rule import Rule
from gdn_ops.codegen.schedule import running
from gdn_ops.codegen.targets import target_named
from gdn_ops.codegen.traffic import variant_bytes
from gdn_ops.codegen.variant import Variant
from gdn_ops.verify.accuracy_gate import verify
from tests.close import assert_close
from tests.codegen.kernels.hopper_case import CASE, GRADS, WALKS, given, run
from tests.codegen.kernels.split_case import SplitCase

CASES: dict[str, SplitCase] = {
    "packed sequences, of which some are empty or short": CASE.with_(
        T=210, offsets=(0, 64, 64, 75, 200)
    ),
    "heads of 128, in two slices": CASE.with_(K=128, V=128, HV=1, T=70),
    "decay that leaves nothing": CASE.with_(gate="wild", HV=1, T=130),
    "no gate": CASE.with_(gate="none", HV=1),
    "several rows, each with a ragged end": CASE.with_(B=2, T=70),
    "three value heads per key head": CASE.with_(H=2, HV=6, T=64),
    "no decay": CASE.with_(gate="zero"),
    "strong decay": CASE.with_(gate="strong"),
    "no states, fp16": CASE.with_(initial_state=False, final_state=False, dtype="fp16"),
    "more chunks than slots": CASE.with_(T=400),
}
SAMPLE = tuple(CASES)[:4]
SEEDS = 20
BARS = {"dbeta": 2e-2, "dg": 2e-2, "h": 5e-3}
PROBLEM = Problem(
    op="backward", H=2, HV=4, K=128, V=128, dtype="bf16", tokens=256, sequences=1, final_state=True
)


def check(stage: str, name: str, folder: Path, seeds: int, **axes: Value) -> None:
    """Compare with fp64, and the bits of each order of the partitions with those of the first."""
    case = CASES[name]
    x = given(case)
    out = run(stage, case, x, folder, **axes)
    for output, value in out.items():
        covered = slice(0, case.covered if output not in ("h", "dh", "dh0") else None)
        rows = (slice(None), covered) if output not in ("h", "dh", "dh0") else (slice(None),)
        assert_close(output, x[output][rows], value[rows], BARS.get(output, 8e-3))
        if len(rows) == 2:
            assert value[:, case.covered :].isnan().all(), output
    for seed in range(1, seeds):
        again = run(stage, case, x, folder, seed, **axes)
        for output, value in out.items():
            assert torch.equal(value.nan_to_num(), again[output].nan_to_num()), (output, seed)


@pytest.mark.parametrize(("stage", "name"), list(product((WALKS, GRADS), SAMPLE)))
def test_it_is_as_in_fp64_with_equal_bits_in_two_orders(
    stage: str, name: str, tmp_path: Path
) -> None:
    check(stage, name, tmp_path, seeds=2)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("stage", "name"), list(product((WALKS, GRADS), CASES)))
def test_every_case_in_twenty_orders(stage: str, name: str, tmp_path: Path) -> None:
    check(stage, name, tmp_path, SEEDS)


def check_that_the_next_sequence_stays_out(stage: str, folder: Path) -> None:
    """Compare a sequence before finite tokens with itself before tokens that are infinite."""
    case = CASE.with_(T=140, HV=1, offsets=(0, 70, 140))
    x = given(case)
    alone = run(stage, case, x, folder)
    for name in ("q", "k", "v", "beta", "gc", "g", "A", "do"):
        x[name][:, 70:] = float("inf")
    beside = run(stage, case, x, folder)
    for name, value in alone.items():
        own = {"h": 2, "dh": 2, "dh0": 1}.get(name)  # of the first sequence
        first, again = (y[:own] if own else y[:, :70] for y in (value, beside[name]))
        assert torch.equal(first, again), name


@pytest.mark.parametrize("stage", [WALKS, GRADS])
def test_tokens_of_the_next_sequence_do_not_reach_this_one(stage: str, tmp_path: Path) -> None:
    check_that_the_next_sequence_stays_out(stage, tmp_path)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "changes",
    [{}, {"varlen": True, "initial_state": True}, {"rule": Rule("none")}, {"K": 64, "V": 64}],
)
def test_the_whole_accuracy_gate_passes(changes: dict[str, Any]) -> None:
    problem = replace(PROBLEM, **changes)
    verdict = verify(problem, Variant.default("fused_sm90", problem), interpret=True)
    assert verdict.status == "ok", verdict.message


@pytest.mark.parametrize(("HV", "launches", "bytes_"), [(16, 2, 5148), (32, 3, 5404)])
def test_launches_and_bytes_of_a_backward_that_keeps_the_inverse(
    HV: int, launches: int, bytes_: int
) -> None:
    problem = replace(PROBLEM, H=16, HV=HV, tokens=8192, final_state=False)
    variant, kept = Variant.default("fused_sm90", problem), ("gc", "A")
    assert len(running(variant, problem, kept)) == launches
    assert variant_bytes(variant, problem, kept) == bytes_


def test_a_backward_that_would_read_an_inverse_without_the_decay_is_refused() -> None:
    variant = Variant.of("fused_sm90", PROBLEM, {"gate_free": True})
    assert variant.reasons(PROBLEM, target_named("h200")) == [
        "the backward of fused_sm90 reads A with the decay; use gate_free=False"
    ]


def test_states_are_given_as_descriptors_alone() -> None:
    spec = KERNELS[WALKS]
    names = spec.parameters(PROBLEM, {"BT": 64})
    assert {"d_h", "d_dh"} <= set(names) and not {"h", "dh"} & set(names)
