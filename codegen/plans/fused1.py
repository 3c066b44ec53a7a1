"""Plan fused1: the whole forward in one kernel, which walks over the chunks."""

from __future__ import annotations

from dataclasses import replace

from gdn_ops.codegen.axes import BT
from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.plan import Plan
from gdn_ops.codegen.plans.refusal import chunk_reasons
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target

# the inverse of longer chunks spills if matrix units cannot read shared memory (sm_80)
AXES = (replace(BT, default=32),)


def _stages(problem: Problem) -> tuple[str, ...]:
    return ("fused1",)


def _refusals(problem: Problem, config: Config, target: Target) -> list[str]:
    reasons = chunk_reasons("fused1", AXES, problem, config, target)
    if not problem.rule.delta:
        reasons.append(f"plan fused1 computes the delta rule, not {problem.rule.name}")
    if problem.op == "backward":
        reasons.append("plan fused1 has no backward; plan split has one")
    return reasons


PLAN = Plan(
    name="fused1",
    doc="gate, inverse, outputs and state in one kernel; forward only",
    axes=AXES,
    stages=_stages,
    refusals=_refusals,
)
