"""Plan fused_sm90: plan fused for Hopper, with the walk in Gluon."""

from __future__ import annotations

from gdn_ops.codegen.axes import gate_free
from gdn_ops.codegen.axis import Axis, Config
from gdn_ops.codegen.gluon import gluon_reasons
from gdn_ops.codegen.kernels import scan_sm90
from gdn_ops.codegen.plan import Plan
from gdn_ops.codegen.plans.refusal import chunk_reasons
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target

AXES = (
    Axis("BT", (64,), 64, "tokens per chunk"),
    Axis("store", ("io",), "io", "dtype of tensors between stages: that of q"),
    gate_free(False),
)


def _stages(problem: Problem) -> tuple[str, ...]:
    return (*(("gate_cumsum",) if problem.rule.gate != "none" else ()), "solve", "scan_sm90")


def _refusals(problem: Problem, interface: Config, target: Target) -> list[str]:
    reasons = chunk_reasons("fused_sm90", AXES, problem, interface, target)
    if target.gpu:
        reasons += gluon_reasons(scan_sm90.SPEC.name, scan_sm90.SPEC.archs, target)
    reasons += scan_sm90.problem_reasons(problem)
    if problem.op == "backward":
        reasons.append("plan fused_sm90 has no backward; plan fused has one")
    if not problem.rule.delta:
        reasons.append(f"plan fused_sm90 computes the delta rule, not {problem.rule.name}")
    return reasons


PLAN = Plan(
    name="fused_sm90",
    doc="plan fused for Hopper GPUs: its walk in Gluon, for K = V = 64 or 128 of 16 bits",
    axes=AXES,
    stages=_stages,
    refusals=_refusals,
    verified=False,
)
