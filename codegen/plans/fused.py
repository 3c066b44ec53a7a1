"""Plan fused: one walk over the chunks for outputs and state, one walk back for gradients."""

from __future__ import annotations

from gdn_ops.codegen.axes import BT, STORE, gate_free
from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.plan import Plan
from gdn_ops.codegen.plans.refusal import chunk_reasons
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target

# with gate_free every slice of V would multiply A by the decay again, inside its walk
AXES = (BT, STORE, gate_free(False))


def _stages(problem: Problem) -> tuple[str, ...]:
    gated = problem.rule.gate != "none"
    solved = (*(("gate_cumsum",) if gated else ()), "solve")
    if problem.op != "backward":
        return (*solved, "scan")
    total = ("bwd_total",) if problem.group > 1 or problem.gate_in_kernel else ()
    return (*solved, "chunk_h_only", "bwd_scan", *(("bwd_gate",) if gated else ()), *total)


def _refusals(problem: Problem, interface: Config, target: Target) -> list[str]:
    reasons = chunk_reasons("fused", AXES, problem, interface, target)
    if not problem.rule.delta:
        reasons.append(f"plan fused computes the delta rule, not {problem.rule.name}")
    return reasons


PLAN = Plan(
    name="fused",
    doc="one walk over the chunks for outputs and state, one walk back for gradients",
    axes=AXES,
    stages=_stages,
    refusals=_refusals,
)
