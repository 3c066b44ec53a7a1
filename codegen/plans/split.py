"""Plan split: one kernel a step of the chunkwise form, or of its gradients."""

from __future__ import annotations

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.plan import Plan
from gdn_ops.codegen.plans.interface import BT, STORE, gate_free
from gdn_ops.codegen.plans.refusal import chunk_reasons
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target

AXES = (BT, STORE, gate_free(True))


def _stages(problem: Problem) -> tuple[str, ...]:
    gated = problem.rule.gate != "none"
    paired = ("pairs",) if problem.rule.gate == "vector" else ()
    solved = ("solve", "wu") if problem.rule.delta else ()
    forward = (*(("gate_cumsum",) if gated else ()), *paired, *solved, "state")
    if problem.op != "backward":
        return (*forward, "output")
    total = problem.group > 1 or problem.gate_in_kernel
    gate = ("dgate",) if gated else ()
    return (*forward, "dlocal", "dstate", "grads", *gate, *(("total",) if total else ()))


def _refusals(problem: Problem, interface: Config, target: Target) -> list[str]:
    return chunk_reasons("split", AXES, problem, interface, target, vector=True)


PLAN = Plan(
    name="split",
    doc="one kernel a step of the chunkwise form, or of its gradients",
    axes=AXES,
    stages=_stages,
    refusals=_refusals,
)
