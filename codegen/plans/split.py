"""Plan split: one kernel per step of the chunkwise form, or of its gradients."""

from __future__ import annotations

from gdn_ops.codegen.axes import BT, STORE, gate_free
from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.plan import Plan
from gdn_ops.codegen.plans.refusal import chunk_reasons
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target

AXES = (BT, STORE, gate_free(True))


def _stages(problem: Problem) -> tuple[str, ...]:
    gated = problem.rule.gate != "none"
    paired = ("chunk_scores",) if problem.rule.gate == "vector" else ()
    solved = ("solve", "chunk_wu") if problem.rule.delta else ()
    forward = (*(("gate_cumsum",) if gated else ()), *paired, *solved, "chunk_h")
    if problem.op != "backward":
        return (*forward, "chunk_o")
    total = problem.group > 1 or problem.gate_in_kernel
    gate = ("bwd_gate",) if gated else ()
    summed = ("bwd_total",) if total else ()
    return (*forward, "bwd_dv_local", "bwd_dh", "bwd_dqkvg", *gate, *summed)


def _refusals(problem: Problem, interface: Config, target: Target) -> list[str]:
    return chunk_reasons("split", AXES, problem, interface, target, vector=True)


PLAN = Plan(
    name="split",
    doc="one kernel per step of the chunkwise form, or of its gradients",
    axes=AXES,
    stages=_stages,
    refusals=_refusals,
)
