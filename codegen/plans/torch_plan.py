"""Plan torch: plain PyTorch on any device."""

from __future__ import annotations

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.plan import Plan
from gdn_ops.codegen.plans.refusal import rule_reasons
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target


def _stages(problem: Problem) -> tuple[str, ...]:
    vector = problem.rule.gate == "vector"
    if problem.op == "forward":
        return ("torch_chunk_vector" if vector else "torch_chunk",)
    if problem.op == "backward":
        other = "torch_backward" if problem.rule.delta else "torch_backward_linear"
        return ("torch_backward_vector" if vector else other,)
    if problem.op == "pool":
        return ("torch_pool",)
    # a packed sequence may have no token
    return ("torch_recurrent" if problem.varlen else "torch_decode",)


def _refusals(problem: Problem, interface: Config, target: Target) -> list[str]:
    return rule_reasons("torch", problem, vector=problem.op != "pool")


PLAN = Plan(
    name="torch",
    doc="plain PyTorch on any device: chunkwise, or token by token for decode",
    axes=(),
    stages=_stages,
    refusals=_refusals,
)
