"""Stage scan_sm90 in the interpreter of Gluon, against the chunk form in fp64."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gdn_ops.codegen.axis import Value, defaults
from gdn_ops.codegen.kernels.scan_sm90 import SPEC
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.render import render
from gdn_ops.codegen.rule import Rule
from gdn_ops.codegen.targets import target_named
from gdn_ops.codegen.variant import Variant
from gdn_ops.errors import KernelFault
from gdn_ops.verify.accuracy_gate import verify
from tests import stage_runner
from tests.codegen.kernels.gluon_faults import FAULTS, SCAN, Fault
from tests.codegen.kernels.gluon_walk import (
    CASE,
    CASES,
    PROBLEM,
    SAMPLE,
    SEEDS,
    check,
    check_a_call,
    check_a_triton_without_gluon,
    check_that_the_next_sequence_stays_out,
    run,
)
from tests.codegen.kernels.scan_case import given
from tests.codegen.kernels.split_case import SplitCase

H200 = target_named("h200")
WIDE: dict[str, Value] = {"BV": 128, "num_warps": 8}
"""All value channels of a head of 128 in one program."""
WIDE_CASE = CASE.with_(K=128, V=128, HV=1, T=150)


@pytest.mark.parametrize("name", SAMPLE)
def test_it_walks_as_in_fp64_with_equal_bits_in_two_orders(name: str, tmp_path: Path) -> None:
    check("scan_sm90", *CASES[name], tmp_path, seeds=2)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", CASES)
def test_every_case_in_twenty_orders(name: str, tmp_path: Path) -> None:
    check("scan_sm90", *CASES[name], tmp_path, seeds=SEEDS)


@pytest.mark.parametrize(
    ("changes", "axes"),
    [
        ({"offsets": (0, 70, 70, 150)}, {}),
        pytest.param({"gate": "none", "T": 400}, {"slots": 2}, marks=pytest.mark.exhaustive),
        pytest.param({"gate": "strong"}, {"gate_free": True}, marks=pytest.mark.exhaustive),
    ],
)
def test_one_program_walks_all_channels_of_a_head(
    changes: dict[str, Any], axes: dict[str, Value], tmp_path: Path
) -> None:
    check("scan_sm90", WIDE_CASE.with_(**changes), {**axes, **WIDE}, tmp_path, seeds=2)


@pytest.mark.exhaustive
def test_faults_are_found_in_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = WIDE_CASE.with_(T=330)
    x, found = given(case), 0
    for fault in (fault for fault in FAULTS if fault.stage == SCAN):

        def rendered(*args: Any, fault: Fault = fault, **options: Any) -> str:
            source = render(*args, **options)
            return fault.planted(source) if fault.old in source else ""

        monkeypatch.setattr(stage_runner, "render", rendered)
        if rendered(SPEC, case.problem, config_of(case), interpret=True):
            found += 1
            with pytest.raises(KernelFault):
                run("scan_sm90", case, x, tmp_path, 1, **WIDE)
    assert found >= 16


def config_of(case: SplitCase) -> dict[str, Value]:
    return {**defaults(PLANS["fused_sm90"].axes), **SPEC.default(case.problem), **WIDE}


def test_channels_and_warps_go_together() -> None:
    problem = PROBLEM
    config = {**defaults(PLANS["fused_sm90"].axes), **SPEC.default(problem)}
    assert SPEC.reasons(problem, {**config, **WIDE}, H200) == []
    (reason,) = SPEC.reasons(problem, {**config, "BV": 128}, H200)
    assert reason == "scan_sm90 walks BV=128 channels with 8 warps, not 4"
    narrow = replace(problem, K=64, V=64)
    (reason,) = SPEC.reasons(narrow, {**config, **WIDE}, H200)
    assert reason == "BV=128 is more than the 64 value channels of a head"


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
