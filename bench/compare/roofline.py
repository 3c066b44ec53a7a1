"""The roofline: the minimum time of a case on a target, from its bytes and FLOPs."""

from __future__ import annotations

from bench.compare.cases import Case
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.work import GRADIENTS, rule_flops


def roofline(case: Case, target: Target) -> float | None:
    """Return the seconds for the memory traffic or for the products, whichever is longer.

    The traffic is reading each input and writing each output once. The products are those of the
    chunkwise form with chunks of 64 tokens: per key head K K^T and Q K^T (lower triangles), per
    value head K S, Q S and K^T N, and the triangular products A x and P n. Gradients need 2.5
    times as many.

    Returns:
        Seconds; None if the target's rates are unknown.
    """
    if not target.bandwidth:
        return None
    size = 4 if case.dtype == "fp32" else 2
    T, H, HV, D = case.tokens, case.H, case.HV, case.D
    tokens = T * size * (2 * H * D + 2 * HV * D) + T * HV * 8  # v and o, or v and do
    states = len(case.lengths) * HV * D * D * 4 * 2
    if case.op == "backward":
        tokens += T * size * (2 * H * D + HV * D) + T * HV * 8
        states = states // 2 * 3  # h0, dht, dh0
    seconds = (tokens + states) / target.bandwidth
    rate = target.flops_fp32 if case.dtype == "fp32" else target.flops_16
    if case.op != "decode" and rate:
        flops = rule_flops(tokens=T, H=H, HV=HV, K=D, V=D)
        seconds = max(seconds, flops * (GRADIENTS if case.op == "backward" else 1.0) / rate)
    return seconds
