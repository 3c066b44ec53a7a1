"""Plan fused_sm100: plan fused for Blackwell data-centre GPUs, with its walks in Gluon."""

from __future__ import annotations

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.kernels import scan_sm100
from gdn_ops.codegen.plan import Plan
from gdn_ops.codegen.plans import fused_sm90
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target


def _stages(problem: Problem) -> tuple[str, ...]:
    return fused_sm90.stages_of(problem, "sm100")


def _refusals(problem: Problem, interface: Config, target: Target) -> list[str]:
    return fused_sm90.reasons_of("fused_sm100", scan_sm100.SPEC.archs, problem, interface, target)


PLAN = Plan(
    name="fused_sm100",
    doc="plan fused for Blackwell data-centre GPUs: its walks in Gluon, for K = V = 64 or 128 of "
    "16 bits",
    axes=fused_sm90.AXES,
    stages=_stages,
    refusals=_refusals,
    verified=False,
)
