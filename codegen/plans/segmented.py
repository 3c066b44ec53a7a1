"""Plan segmented: plan fused on all segments of a sequence in parallel."""

from __future__ import annotations

from gdn_ops.codegen.axes import BT, STORE, gate_free
from gdn_ops.codegen.axis import Axis, Config
from gdn_ops.codegen.plan import Plan
from gdn_ops.codegen.plans.refusal import chunk_reasons
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.tensor import segment_tokens

SEG = Axis("SEG", (4, 8, 16, 32, 64, 128), 16, "chunks per segment")
AXES = (BT, STORE, gate_free(False), SEG)


def _stages(problem: Problem) -> tuple[str, ...]:
    gated = problem.rule.gate != "none"
    solved = ("gate_cumsum", "solve", "segment_bound") if gated else ("solve",)
    chained = (*solved, "segment_map", "segment_carry")
    if problem.op != "backward":
        return (*chained, "segment_scan")
    # all readers of M run before h is written, so that both are not in memory at once
    walked = ("segment_bwd_map", "segment_bwd_carry", "segment_chunk_h", "segment_bwd_scan")
    total = ("bwd_total",) if problem.group > 1 or problem.gate_in_kernel else ()
    return (*chained, *walked, *(("bwd_gate",) if gated else ()), *total)


def _refusals(problem: Problem, interface: Config, target: Target) -> list[str]:
    reasons = chunk_reasons("segmented", AXES, problem, interface, target)
    if not problem.rule.delta:
        reasons.append(f"plan segmented computes the delta rule, not {problem.rule.name}")
    if interface["gate_free"]:
        reasons.append(
            "plan segmented keeps the decay in A, because otherwise every slice of h_local, M and "
            "o would multiply A by it again; use gate_free=False"
        )
    return reasons + length_reasons(problem, interface, whole="fused")


def length_reasons(problem: Problem, interface: Config, *, whole: str) -> list[str]:
    """Refuse segments that no sequence exceeds, and segments smaller than their states.

    Args:
        whole: the plan that walks sequences as a whole.
    """
    longest = problem.tokens
    if not problem.varlen:
        longest = -(-problem.tokens // max(problem.sequences, 1))
    segment = segment_tokens(interface)
    size = f"SEG={interface['SEG']} with BT={interface['BT']} makes segments of {segment} tokens"
    if segment < 2 * problem.K:
        return [f"{size}, smaller than M and h_local with K={problem.K}; use a larger SEG or BT"]
    if longest <= segment:
        return [f"{size}, and no sequence has more than {longest}; use plan {whole}"]
    return []


PLAN = Plan(
    name="segmented",
    doc="plan fused on all segments of a sequence in parallel",
    axes=AXES,
    stages=_stages,
    refusals=_refusals,
)
