"""Plan fused_sm100: the forward of plan fused for Blackwell data-centre GPUs, in Gluon."""

from __future__ import annotations

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.gluon import gluon_reasons
from gdn_ops.codegen.kernels import scan_sm90, scan_sm100
from gdn_ops.codegen.plan import Plan
from gdn_ops.codegen.plans import fused_sm90
from gdn_ops.codegen.plans.refusal import chunk_reasons
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target


def _stages(problem: Problem) -> tuple[str, ...]:
    return ("gate_solve", "scan_sm100")


def _refusals(problem: Problem, interface: Config, target: Target) -> list[str]:
    reasons = chunk_reasons("fused_sm100", fused_sm90.AXES, problem, interface, target)
    if target.gpu:
        reasons += gluon_reasons("fused_sm100", scan_sm100.SPEC.archs, target)
    reasons += scan_sm90.tile_reasons("fused_sm100", problem)
    if problem.op == "backward":
        reasons.append("plan fused_sm100 has no backward; use plan fused")
    if not problem.rule.delta:
        reasons.append(f"plan fused_sm100 computes the delta rule, not {problem.rule.name}")
    return reasons


PLAN = Plan(
    name="fused_sm100",
    doc="the forward of plan fused for Blackwell data-centre GPUs: its walk in Gluon, for "
    "K = V = 64 or 128 of 16 bits",
    axes=fused_sm90.AXES,
    stages=_stages,
    refusals=_refusals,
    verified=False,
)
