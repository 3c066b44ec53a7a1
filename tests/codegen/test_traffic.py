"""Bytes that variants move through memory, against counts by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.rule import Rule
from gdn_ops.codegen.saving_cost import kept_by_choice
from gdn_ops.codegen.targets import target_named
from gdn_ops.codegen.traffic import stage_bytes, variant_bytes
from gdn_ops.codegen.variant import Variant

ALIKE = Problem(op="forward", H=16, HV=16, K=128, V=128, dtype="bf16", tokens=8192, sequences=1)
GROUPED = replace(ALIKE, HV=32)


def moved(problem: Problem, plan: str = "split", **interface: object) -> float:
    return variant_bytes(Variant.of(plan, problem, interface), problem)


def test_a_stage_counted_by_hand() -> None:
    config = {"BT": 64, "store": "io", "gate_free": True, **KERNELS["chunk_wu"].default(GROUPED)}
    k, v, beta, A, gc, w, u = 256 / 2, 256, 4, 128, 4, 256, 256
    assert stage_bytes(KERNELS["chunk_wu"], GROUPED, config) == k + v + beta + A + gc + w + u


def test_the_table_of_the_docs() -> None:
    text = (Path(__file__).parents[2] / "docs" / "maths.md").read_text()
    for op, plan, grouped in (
        ("forward", "split", False), ("backward", "split", False),
        ("forward", "recurrent", False), ("forward", "split", True), ("backward", "split", True),
        ("forward", "segmented", False), ("forward", "fused", False), ("forward", "fused", True),
        ("forward", "fused1", False), ("forward", "fused1", True),
        ("backward", "fused", False), ("backward", "fused", True),
        ("backward", "segmented", False), ("forward", "fused_sm90", False),
        ("forward", "fused_sm90", True), ("backward", "fused_sm90", False),
        ("backward", "fused_sm90", True), ("forward", "segmented_sm90", False),
        ("backward", "segmented_sm90", False),
    ):  # fmt: skip
        problem = replace(GROUPED if grouped else ALIKE, op=op)
        assert f"{moved(problem, plan):.0f} B" in text
    one, two = (moved(replace(ALIKE, op="backward"), "recurrent", slice=n) for n in (128, 64))
    assert f"1032 B | {one:.0f} B in one slice of V, {two:.0f} B in two |" in text


def test_the_table_of_what_is_kept() -> None:
    text = (Path(__file__).parents[2] / "docs" / "maths.md").read_text()
    backward = ALIKE.backward(final_state=False)
    for plan, keep in (
        ("split", "inputs"), ("split", "inverse"), ("split", "states"), ("fused", "inverse"),
        ("fused", "states"),
    ):  # fmt: skip
        after = Variant.default("split", backward)
        before = Variant.default(plan, ALIKE)
        rows = kept_by_choice(before, ALIKE, after, backward, target_named("h200"))
        (row,) = (row for row in rows if row.keep == keep)
        line = f"| {row.bytes:.0f} B | {row.moved:.0f} B |"
        assert any(
            line in told and f"`{plan}`" in told and f"`{keep}`" in told
            for told in text.splitlines()
        )


def test_states_of_sequences_and_tables_are_no_tokens() -> None:
    with_states = replace(ALIKE, initial_state=True, final_state=True, varlen=True)
    assert moved(with_states) == moved(ALIKE)


@pytest.mark.parametrize("change", [{"store": "fp32"}, {"BT": 16}])
def test_wider_intermediates_and_shorter_chunks_move_more(change: dict[str, object]) -> None:
    assert moved(ALIKE, **change) > moved(ALIKE)


def test_no_gate_moves_less() -> None:
    assert moved(replace(ALIKE, rule=Rule("none"))) < moved(ALIKE)


def test_the_walk_back_moves_what_flashqla_moves_where_the_inverse_is_kept() -> None:
    backward = ALIKE.backward(final_state=False)
    before, after = (Variant.default("fused", problem) for problem in (ALIKE, backward))
    q, k, v, do, dq, dk, dv, h = (256,) * 7 + (512,)
    beta, gc, A, dbeta, dgc, g, dg = 4, 4, 128, 4, 4, 4, 4
    states = k + v + beta + A + gc + h
    reverse = q + k + v + do + beta + A + gc + h + dq + dk + dv + dbeta + dgc
    rows = kept_by_choice(before, ALIKE, after, backward, target_named("h200"))
    (kept,) = (row for row in rows if row.keep == "inverse")
    assert kept.moved == states + reverse + g + dgc + dg <= 3686
    assert moved(backward, "fused") == kept.moved + 2 * gc + k + beta + gc + A


def test_one_kernel_moves_inputs_and_outputs_alone() -> None:
    q, k, v, o, g, beta = 256, 256, 256, 256, 4, 4
    assert moved(ALIKE, "fused1") == q + k + v + o + g + beta <= 1100
    assert moved(GROUPED, "fused1") == q / 2 + k / 2 + v + o + g + beta


def test_longer_segments_move_less_and_more_than_none() -> None:
    fewer, more = (moved(ALIKE, "segmented", SEG=SEG) for SEG in (64, 16))
    states = 128 * 128 * 4 * (2 + 2 + 2)  # M, h_local and h_start, written and read
    # and log_norm and whole, written and read
    assert more - fewer == (states + 8) * (1 / 1024 - 1 / 4096)
    growth = 256 + 4 + 4
    transition = 256 + 256 + 4 + 128 + 4
    gates = 2 * 4 / 64
    assert fewer == moved(ALIKE, "fused") + growth + transition + gates + (states + 8) / 4096
