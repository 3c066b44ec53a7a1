"""Work: the FLOPs and the bytes of states that a problem needs, whatever computes it."""

from __future__ import annotations

from gdn_ops.codegen.dtype import DTYPES
from gdn_ops.codegen.problem import Problem

CHUNK = 64
"""Tokens per chunk of the chunkwise form whose products are counted."""
GRADIENTS = 2.5
"""FLOPs of the gradients over those of the outputs."""


def rule_flops(*, tokens: int, H: int, HV: int, K: int, V: int, delta: bool = True) -> float:
    """The FLOPs of the products of the chunkwise form with chunks of 64 tokens.

    Per key head these are Q K^T and, with the delta rule, K K^T (lower triangles); per value head
    Q S, K^T N and P N, and with the delta rule also K S and A X.
    """
    parts = 2 if delta else 1
    per_key_head = parts * CHUNK * K
    per_value_head = 2 * (parts + 1) * K * V + parts * CHUNK * V
    return float(tokens * (H * per_key_head + HV * per_value_head))


def problem_flops(problem: Problem) -> float:
    """The FLOPs of a problem's products; token by token in a decode."""
    delta = problem.rule.delta
    if problem.op in ("decode", "pool"):
        products = 3 if delta else 2
        return float(problem.tokens * problem.HV * products * 2 * problem.K * problem.V)
    flops = rule_flops(
        tokens=problem.tokens, H=problem.H, HV=problem.HV, K=problem.K, V=problem.V, delta=delta
    )
    return flops * (GRADIENTS if problem.op == "backward" else 1.0)


def state_bytes(problem: Problem) -> float:
    """The bytes of initial and final states, which ``variant_bytes`` leaves out."""
    size = DTYPES[problem.state_dtype].bytes if problem.op == "pool" else 4
    one = problem.sequences * problem.HV * problem.K * problem.V * size
    return float(one * (int(problem.initial_state) + int(problem.final_state)))
