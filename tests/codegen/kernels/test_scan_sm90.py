"""Stage scan_sm90 in the interpreter of Gluon, against the chunk form in fp64."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import gdn_ops
from gdn_ops.codegen import gluon
from gdn_ops.codegen.axis import Value, defaults
from gdn_ops.codegen.kernels.scan_sm90 import SPEC
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.rule import Rule
from gdn_ops.codegen.targets import target_named
from gdn_ops.codegen.variant import Variant
from gdn_ops.gluon_interpreter import scheduled
from gdn_ops.verify.accuracy_gate import verify
from tests.close import assert_close
from tests.codegen.kernels.scan_case import given, run_walk
from tests.codegen.kernels.split_case import SplitCase
from tests.gdn_ops.ops.calls import call, expected

CASE = SplitCase(B=1, T=150, H=1, HV=2, K=64, V=64, BT=64, dtype="bf16")
CASES: dict[str, tuple[SplitCase, dict[str, Value]]] = {
    "several rows, each with a ragged end": (CASE.with_(B=2, T=70), {}),
    "packed sequences, of which some are empty or short": (
        CASE.with_(T=290, offsets=(0, 64, 64, 75, 280)),
        {},
    ),
    "heads of 128, in two slices": (CASE.with_(K=128, V=128), {}),
    "three value heads per key head": (CASE.with_(H=2, HV=6, T=64), {}),
    "no gate": (CASE.with_(gate="none"), {}),
    "no decay": (CASE.with_(gate="zero"), {"gate_free": True}),
    "strong decay": (CASE.with_(gate="strong"), {"gate_free": True}),
    "decay that leaves nothing": (CASE.with_(gate="wild", T=130), {}),
    "no states, fp16": (CASE.with_(initial_state=False, final_state=False, dtype="fp16"), {}),
    "more chunks than slots": (CASE.with_(T=400), {"slots": 2}),
}
SAMPLE = tuple(CASES)[:6]
SEEDS = 20
H200 = target_named("h200")
PROBLEM = Problem(
    op="forward", H=2, HV=4, K=128, V=128, dtype="bf16", tokens=256, sequences=1, final_state=True
)


def run(
    case: SplitCase, x: dict[str, torch.Tensor], folder: Path, seed: int = 0, **axes: Value
) -> dict[str, torch.Tensor]:
    config = {**defaults(PLANS["fused_sm90"].axes), **defaults(SPEC.axes), **axes}
    with scheduled(seed):
        return run_walk(SPEC, case, x, config, folder)


def check(name: str, folder: Path, seeds: int) -> None:
    """Compare with fp64, and the bits of each order of the partitions with those of the first."""
    case, axes = CASES[name]
    x = given(case, gate_free=bool(axes.get("gate_free")))
    out = run(case, x, folder, **axes)
    assert_close("o", x["o"][:, : case.covered], out["o"][:, : case.covered], 5e-3)
    assert out["o"][:, case.covered :].isnan().all()
    if case.final_state:
        assert_close("ht", x["ht"], out["ht"], 5e-3)
    for seed in range(1, seeds):
        again = run(case, x, folder, seed, **axes)
        for output, value in out.items():
            assert torch.equal(value.nan_to_num(), again[output].nan_to_num()), (output, seed)


@pytest.mark.parametrize("name", SAMPLE)
def test_it_walks_as_in_fp64_with_equal_bits_in_two_orders(name: str, tmp_path: Path) -> None:
    check(name, tmp_path, seeds=2)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", CASES)
def test_every_case_in_twenty_orders(name: str, tmp_path: Path) -> None:
    check(name, tmp_path, SEEDS)


def test_tokens_of_the_next_sequence_do_not_reach_this_one(tmp_path: Path) -> None:
    case = CASE.with_(T=200, offsets=(0, 70, 200))
    x = given(case)
    alone = run(case, x, tmp_path)
    for name in ("q", "k", "v", "beta", "gc", "A"):
        x[name][:, 70:] = float("inf")
    beside = run(case, x, tmp_path)
    assert torch.equal(alone["o"][:, :70], beside["o"][:, :70])
    assert torch.equal(alone["ht"][0], beside["ht"][0])


@pytest.mark.triton
def test_a_call_runs_on_the_plan_where_it_is_asked_for() -> None:
    arguments = call(B=1, T=70, H=1, HV=2, K=64, V=64, dtype=torch.bfloat16)
    arguments["beta"] = arguments["beta"].bfloat16()
    o_ref, ht_ref = expected(arguments)
    with gdn_ops.using("fused_sm90"), torch.no_grad():
        o, ht = gdn_ops.chunk_gated_delta_rule(**arguments)
    assert ht is not None
    assert_close("o", o_ref, o, 5e-3)
    assert_close("final state", ht_ref, ht, 5e-3)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "changes",
    [{}, {"varlen": True, "initial_state": True}, {"rule": Rule("none")}, {"K": 64, "V": 64}],
)
def test_the_accuracy_gate_passes(changes: dict[str, Any]) -> None:
    problem = replace(PROBLEM, **changes)
    verdict = verify(problem, Variant.default("fused_sm90", problem), interpret=True)
    assert verdict.status == "ok", verdict.message


@pytest.mark.parametrize(
    ("changes", "target", "reason"),
    [
        ({}, "b200", "fused_sm90 is a Gluon kernel for sm_90, and b200 is sm_100"),
        ({}, "a100", "fused_sm90 is a Gluon kernel for sm_90, and a100 is sm_80"),
        ({"dtype": "fp32"}, "h200", "fused_sm90 multiplies 16-bit tiles; q, k, v are fp32"),
        (
            {"K": 100},
            "h200",
            "fused_sm90 needs K = V = 64 or 128; K=100, V=128 run on plan fused",
        ),
        (
            {"op": "decode"},
            "h200",
            "plan fused_sm90 works on chunks and decode has one token per sequence",
        ),
    ],
)
def test_what_it_cannot_run_is_refused(changes: dict[str, Any], target: str, reason: str) -> None:
    problem = replace(PROBLEM, **changes)
    reasons = Variant.default("fused_sm90", problem).reasons(problem, target_named(target))
    assert reasons == [reason]


def test_a_triton_without_gluon_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    variant = Variant.default("fused_sm90", PROBLEM)
    assert variant.reasons(PROBLEM, H200) == []
    monkeypatch.setattr(gluon, "missing_in_triton", lambda: "Triton 3.5.0 has no Gluon")
    assert variant.reasons(PROBLEM, H200) == [
        "fused_sm90 is a Gluon kernel, and Triton 3.5.0 has no Gluon"
    ]
