"""Plan recurrent: token by token with the state in registers."""

from __future__ import annotations

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.plan import Plan
from gdn_ops.codegen.plans.refusal import kernel_reasons
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target


def _stages(problem: Problem) -> tuple[str, ...]:
    return ("pool_decode",) if problem.op == "pool" else ("recurrent",)


def _refusals(problem: Problem, interface: Config, target: Target) -> list[str]:
    reasons = kernel_reasons("recurrent", problem, target)
    if problem.op == "backward":
        reasons.append("plan recurrent has no backward yet; plan split has one")
    return reasons


PLAN = Plan(
    name="recurrent",
    doc="token by token with the state in registers; also decode, and on a pool of states",
    axes=(),
    stages=_stages,
    refusals=_refusals,
)
