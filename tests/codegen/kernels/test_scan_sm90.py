"""Stage scan_sm90 in the interpreter of Gluon, against the chunk form in fp64."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gdn_ops.codegen.rule import Rule
from gdn_ops.codegen.targets import target_named
from gdn_ops.codegen.variant import Variant
from gdn_ops.verify.accuracy_gate import verify
from tests.codegen.kernels.gluon_walk import (
    CASES,
    PROBLEM,
    SAMPLE,
    SEEDS,
    check,
    check_a_call,
    check_a_triton_without_gluon,
    check_that_the_next_sequence_stays_out,
)

H200 = target_named("h200")


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
    check_a_call("fused_sm90")


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
    check_a_triton_without_gluon("fused_sm90", H200, monkeypatch)
