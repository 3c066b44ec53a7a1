"""Stage scan_sm100 in the interpreter of Gluon, against the chunk form in fp64."""

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
    CASE,
    CASES,
    PROBLEM,
    SEEDS,
    check,
    check_a_call,
    check_a_triton_without_gluon,
    check_that_the_next_sequence_stays_out,
)

SLICES = "heads of 128, in two slices"
ALL = {**CASES, SLICES: (CASE.with_(K=128, V=128), {"BV": 64})}
SAMPLE = (
    "packed sequences, of which some are empty or short", "heads of 128", SLICES, "no gate",
    "no decay",
)  # fmt: skip
"""What the text that it does not share with scan_sm90 depends on."""
B200 = target_named("b200")


@pytest.mark.parametrize("name", SAMPLE)
def test_it_walks_as_in_fp64_with_equal_bits_in_two_orders(name: str, tmp_path: Path) -> None:
    check("scan_sm100", *ALL[name], tmp_path, seeds=2)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ALL)
def test_every_case_in_twenty_orders(name: str, tmp_path: Path) -> None:
    check("scan_sm100", *ALL[name], tmp_path, seeds=SEEDS)


def test_tokens_of_the_next_sequence_do_not_reach_this_one(tmp_path: Path) -> None:
    check_that_the_next_sequence_stays_out("scan_sm100", tmp_path)


@pytest.mark.triton
def test_a_call_runs_on_the_plan_where_it_is_asked_for() -> None:
    check_a_call("fused_sm100")


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "changes",
    [{}, {"varlen": True, "initial_state": True}, {"rule": Rule("none")}, {"K": 64, "V": 64}],
)
def test_the_accuracy_gate_passes(changes: dict[str, Any]) -> None:
    problem = replace(PROBLEM, **changes)
    verdict = verify(problem, Variant.default("fused_sm100", problem), interpret=True)
    assert verdict.status == "ok", verdict.message


@pytest.mark.parametrize(
    ("changes", "target", "reason"),
    [
        ({}, "h200", "fused_sm100 is a Gluon kernel for sm_100 and sm_103, and h200 is sm_90"),
        ({}, "a100", "fused_sm100 is a Gluon kernel for sm_100 and sm_103, and a100 is sm_80"),
        ({"dtype": "fp32"}, "b200", "fused_sm100 multiplies 16-bit tiles; q, k, v are fp32"),
        (
            {"K": 100},
            "b200",
            "fused_sm100 needs K = V = 64 or 128; K=100, V=128 run on plan fused",
        ),
        (
            {"op": "decode"},
            "b200",
            "plan fused_sm100 works on chunks and decode has one token per sequence",
        ),
    ],
)
def test_what_it_cannot_run_is_refused(changes: dict[str, Any], target: str, reason: str) -> None:
    problem = replace(PROBLEM, **changes)
    reasons = Variant.default("fused_sm100", problem).reasons(problem, target_named(target))
    assert reasons == [reason]


def test_a_triton_without_gluon_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    check_a_triton_without_gluon("fused_sm100", B200, monkeypatch)
