"""Plan recurrent: token by token with the state in registers, the gradients too."""

from __future__ import annotations

from gdn_ops.codegen.axis import Axis, Config
from gdn_ops.codegen.plan import Plan
from gdn_ops.codegen.plans.refusal import kernel_reasons
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.reasons import same_reasons
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.tiling.tiles import width_reasons

SLICE = Axis("slice", (16, 32, 64, 128, 256), 64, "value channels per program of the gradients")


def _stages(problem: Problem) -> tuple[str, ...]:
    if problem.op == "backward":
        read = ("recurrent_bwd_v_old",) if problem.rule.delta else ()
        return (*read, "recurrent_bwd_dv", "recurrent_bwd_dqk", "recurrent_bwd_total")
    return ("pool_decode",) if problem.op == "pool" else ("recurrent",)


def _refusals(problem: Problem, interface: Config, target: Target) -> list[str]:
    reasons = kernel_reasons("recurrent", problem, target, vector=problem.op != "pool")
    if problem.op == "backward":
        return reasons + width_reasons(SLICE, interface, problem.V, least=1)
    why = f"in op {problem.op}, whose stage has its own BV"
    return reasons + same_reasons("slice", interface, SLICE.default, why)


PLAN = Plan(
    name="recurrent",
    doc="token by token with the state in registers; also decode, and on a pool of states",
    axes=(SLICE,),
    stages=_stages,
    refusals=_refusals,
)
