"""Stages' names in databases of older versions."""

from __future__ import annotations

from gdn_ops.codegen.problem import Problem

RENAMED = {
    "state": "chunk_h",
    "states": "chunk_h_only",
    "output": "chunk_o",
    "wu": "chunk_wu",
    "pairs": "chunk_scores",
    "dlocal": "bwd_dv_local",
    "dstate": "bwd_dh",
    "grads": "bwd_dqkvg",
    "dgate": "bwd_gate",
    "total": "bwd_total",
    "reverse": "bwd_scan",
    "walk_dqk": "recurrent_bwd_dqk",
    "walk_dv": "recurrent_bwd_dv",
    "walk_total": "recurrent_bwd_total",
    "walk_v_old": "recurrent_bwd_v_old",
    "chain": "segment_carry",
    "transition": "segment_map",
    "growth": "segment_bound",
    "dchain": "segment_bwd_carry",
    "dtransition": "segment_bwd_map",
    "segment_reverse": "segment_bwd_scan",
    "segment_states": "segment_chunk_h",
}
"""Old name to today's."""


def current_name(stage: str, problem: Problem) -> str:
    """Today's name of a stage of a problem's variant; a name that is not old comes back as it is.

    Stages ``torch_chunk`` and ``torch_backward`` were of all rules, ``torch_recurrent`` of all
    decoding.
    """
    rule = problem.rule
    if stage == "torch_recurrent" and problem.op == "decode" and not problem.varlen:
        return "torch_decode"
    if stage in ("torch_chunk", "torch_backward") and rule.gate == "vector":
        return f"{stage}_vector"
    if stage == "torch_backward" and not rule.delta:
        return "torch_backward_linear"
    return RENAMED.get(stage, stage)
