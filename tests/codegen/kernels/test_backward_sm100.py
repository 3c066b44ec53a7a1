"""Stages bwd_walks_sm100 and bwd_grads_sm100 in the interpreter of Gluon, against fp64."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from gdn_ops.codegen.axis import Value
from gdn_ops.codegen.rule import Rule
from gdn_ops.codegen.schedule import running
from gdn_ops.codegen.targets import target_named
from gdn_ops.codegen.traffic import variant_bytes
from gdn_ops.codegen.variant import Variant
from gdn_ops.verify.accuracy_gate import verify
from tests.codegen.kernels.test_backward_sm90 import (
    CASES,
    PROBLEM,
    SEEDS,
    check,
    check_that_the_next_sequence_stays_out,
)

WALKS, GRADS = "bwd_walks_sm100", "bwd_grads_sm100"
PACKED, WIDE = "packed sequences, of which some are empty or short", "heads of 128, in two slices"
SAMPLE: tuple[tuple[str, str, dict[str, Value]], ...] = (
    (WALKS, PACKED, {}),
    (WALKS, WIDE, {}),
    (WALKS, WIDE, {"BV": 64}),
    (WALKS, "no gate", {}),
    (GRADS, PACKED, {}),
    (GRADS, WIDE, {}),
    (GRADS, "no gate", {}),
)


@pytest.mark.parametrize(("stage", "name", "axes"), SAMPLE)
def test_it_is_as_in_fp64(stage: str, name: str, axes: dict[str, Value], tmp_path: Path) -> None:
    check(stage, name, tmp_path, 2 if stage == WALKS else 1, **axes)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("stage", "name"), list(product((WALKS, GRADS), CASES)))
def test_every_case_in_twenty_orders(stage: str, name: str, tmp_path: Path) -> None:
    check(stage, name, tmp_path, SEEDS)


@pytest.mark.exhaustive
@pytest.mark.parametrize("stage", [WALKS, GRADS])
def test_tokens_of_the_next_sequence_do_not_reach_this_one(stage: str, tmp_path: Path) -> None:
    check_that_the_next_sequence_stays_out(stage, tmp_path)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"varlen": True, "initial_state": True},
        {"rule": Rule("none")},
        {"K": 64, "V": 64},
        {"gate_in_kernel": True, "dt_bias": True, "K": 64, "V": 64},
    ],
)
def test_the_whole_accuracy_gate_passes(changes: dict[str, Any]) -> None:
    problem = replace(PROBLEM, **changes)
    verdict = verify(problem, Variant.default("fused_sm100", problem), interpret=True)
    assert verdict.status == "ok", verdict.message


def test_launches_and_bytes_are_those_of_the_plan_for_hopper() -> None:
    problem = replace(PROBLEM, H=16, HV=32, tokens=8192, final_state=False)
    own, other = (Variant.default(plan, problem) for plan in ("fused_sm100", "fused_sm90"))
    assert len(running(own, problem, ("gc", "A"))) == 3
    assert variant_bytes(own, problem, ("gc", "A")) == variant_bytes(other, problem, ("gc", "A"))


def test_a_backward_that_would_read_an_inverse_without_the_decay_is_refused() -> None:
    variant = Variant.of("fused_sm100", PROBLEM, {"gate_free": True})
    assert variant.reasons(PROBLEM, target_named("b200")) == [
        "the backward of fused_sm100 reads A with the decay; use gate_free=False"
    ]
