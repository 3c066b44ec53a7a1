"""Plan segmented_sm90: plan segmented for Hopper, with its walks in Gluon."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import isqrt

from gdn_ops.codegen.axis import Axis, Config, Value
from gdn_ops.codegen.gluon import gluon_reasons
from gdn_ops.codegen.kernels import scan_sm90
from gdn_ops.codegen.plan import Plan
from gdn_ops.codegen.plans import fused_sm90, segmented
from gdn_ops.codegen.plans.refusal import chunk_reasons
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target

SMS = 132
"""SMs of an H100 SXM or H200."""
SEG = Axis("SEG", (*segmented.SEG.values, 256), 16, "chunks per segment")

# the walks on segments do not multiply A by the decay
AXES = (
    *(
        replace(axis, values=(False,)) if axis.name == "gate_free" else axis
        for axis in fused_sm90.AXES
    ),
    SEG,
)


def _problem_defaults(problem: Problem) -> Mapping[str, Value]:
    """As many segments as give each SM a program, but at least two per sequence.

    Each more is also a step of ``segment_carry``, so no more than the root of the chunks.
    """
    BT, sequences = 64, max(problem.sequences, 1)
    chunks = -(-problem.tokens // (BT * sequences))
    programs = problem.HV * max(problem.V // scan_sm90.BV, 1) * sequences
    segments = max(2, min(SMS // programs, isqrt(chunks)))
    sizes = [int(size) for size in SEG.values]
    return {"SEG": next((size for size in sizes if size * segments >= chunks), sizes[-1])}


def _stages(problem: Problem) -> tuple[str, ...]:
    bound = ("segment_bound",) if problem.rule.gate != "none" else ()
    chained = ("gate_solve", *bound, "segment_map_sm90", "segment_carry")
    if problem.op != "backward":
        return (*chained, "segment_scan_sm90")
    total = ("bwd_total",) if problem.group > 1 or problem.gate_in_kernel else ()
    walked = ("segment_bwd_map_sm90", "segment_bwd_carry", "segment_bwd_walks_sm90")
    return (*chained, *walked, "bwd_grads_sm90", *total)


def _refusals(problem: Problem, interface: Config, target: Target) -> list[str]:
    reasons = chunk_reasons("segmented_sm90", AXES, problem, interface, target)
    if target.gpu:
        reasons += gluon_reasons("segmented_sm90", scan_sm90.SPEC.archs, target)
    reasons += scan_sm90.tile_reasons("segmented_sm90", problem)
    if not problem.rule.delta:
        reasons.append(f"plan segmented_sm90 computes the delta rule, not {problem.rule.name}")
    return reasons + segmented.length_reasons(problem, interface, whole="fused_sm90")


PLAN = Plan(
    name="segmented_sm90",
    doc="plan segmented for Hopper GPUs: its walks in Gluon, as fused_sm90",
    axes=AXES,
    stages=_stages,
    refusals=_refusals,
    problem_defaults=_problem_defaults,
    verified=False,
)
