"""Plan torch: plain PyTorch on any device."""

from __future__ import annotations

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.plan import Plan
from gdn_ops.codegen.plans.refusal import rule_reasons
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target

STAGES = {
    "decode": "torch_decode",
    "forward": "torch_chunk",
    "backward": "torch_backward",
    "pool": "torch_pool",
}


def _stages(problem: Problem) -> tuple[str, ...]:
    if problem.op == "decode" and problem.varlen:
        return ("torch_recurrent",)  # a packed sequence may have no token
    return (STAGES[problem.op],)


def _refusals(problem: Problem, interface: Config, target: Target) -> list[str]:
    return rule_reasons("torch", problem, vector=problem.op != "pool")


PLAN = Plan(
    name="torch",
    doc="plain PyTorch, chunkwise (token by token to decode), on any device",
    axes=(),
    stages=_stages,
    refusals=_refusals,
)
