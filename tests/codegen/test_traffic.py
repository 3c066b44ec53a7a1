"""Bytes that variants move through memory, against counts by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.rule import Rule
from gdn_ops.codegen.traffic import stage_bytes, variant_bytes
from gdn_ops.codegen.variant import Variant

ALIKE = Problem(op="forward", H=16, HV=16, K=128, V=128, dtype="bf16", tokens=8192, sequences=1)
GROUPED = replace(ALIKE, HV=32)


def moved(problem: Problem, plan: str = "split", **interface: object) -> float:
    return variant_bytes(Variant.of(plan, problem, interface), problem)


def test_a_stage_counted_by_hand() -> None:
    config = {"BT": 64, "store": "io", "gate_free": True, **KERNELS["wu"].default(GROUPED)}
    k, v, beta, A, gc, w, u = 256 / 2, 256, 4, 128, 4, 256, 256
    assert stage_bytes(KERNELS["wu"], GROUPED, config) == k + v + beta + A + gc + w + u


def test_the_table_of_the_docs() -> None:
    text = (Path(__file__).parents[2] / "docs" / "maths.md").read_text()
    for op, plan, grouped in (
        ("forward", "split", False), ("backward", "split", False),
        ("forward", "recurrent", False), ("forward", "split", True), ("backward", "split", True),
        ("forward", "fused", False), ("forward", "fused", True),
    ):  # fmt: skip
        problem = replace(GROUPED if grouped else ALIKE, op=op)
        assert f"{moved(problem, plan):.0f} B" in text


def test_states_of_sequences_and_tables_are_no_tokens() -> None:
    with_states = replace(ALIKE, initial_state=True, final_state=True, varlen=True)
    assert moved(with_states) == moved(ALIKE)


@pytest.mark.parametrize("change", [{"store": "fp32"}, {"BT": 16}])
def test_wider_intermediates_and_shorter_chunks_move_more(change: dict[str, object]) -> None:
    assert moved(ALIKE, **change) > moved(ALIKE)


def test_no_gate_moves_less() -> None:
    assert moved(replace(ALIKE, rule=Rule("none"))) < moved(ALIKE)
