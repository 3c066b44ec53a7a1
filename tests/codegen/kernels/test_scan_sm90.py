"""Stage scan_sm90 in the interpreter of Gluon, against the chunk form in fp64."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import gdn_ops
from gdn_ops.codegen import gluon
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.rule import Rule
from gdn_ops.codegen.targets import target_named
from gdn_ops.codegen.variant import Variant
from gdn_ops.verify.accuracy_gate import verify
from tests.close import assert_close
from tests.codegen.kernels.gluon_walk import (
    CASES,
    SAMPLE,
    SEEDS,
    check,
    check_that_the_next_sequence_stays_out,
)
from tests.gdn_ops.ops.calls import call, expected

H200 = target_named("h200")
PROBLEM = Problem(
    op="forward", H=2, HV=4, K=128, V=128, dtype="bf16", tokens=256, sequences=1, final_state=True
)


@pytest.mark.parametrize("name", SAMPLE)
def test_it_walks_as_in_fp64_with_equal_bits_in_two_orders(name: str, tmp_path: Path) -> None:
    check("scan_sm90", *CASES[name], tmp_path, seeds=2)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", CASES)
def test_every_case_in_twenty_orders(name: str, tmp_path: Path) -> None:
    check("scan_sm90", *CASES[name], tmp_path, seeds=SEEDS)


def test_tokens_of_the_next_sequence_do_not_reach_this_one(tmp_path: Path) -> None:
    check_that_the_next_sequence_stays_out("scan_sm90", tmp_path)


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
