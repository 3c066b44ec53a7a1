"""The least time a case can take on a target, by its bytes and its FLOPs."""

from __future__ import annotations

from bench.compare.cases import Case
from gdn_ops.codegen.target import Target

CHUNK = 64


def roofline(case: Case, target: Target) -> float | None:
    """Seconds for reading each input and writing each output once, or for the products; the longer.

    None where the target's rates are not known. Products of the chunkwise form with chunks of 64
    tokens: of a key head K K^T and Q K^T, both on the triangle; of a value head K S, Q S, K^T N,
    and on the triangle A x, P n. Gradients of the inputs alone: 2.5 times.
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
        flops = T * (H * 2 * CHUNK * D + HV * (2 * 3 * D * D + 2 * CHUNK * D))
        seconds = max(seconds, flops * (2.5 if case.op == "backward" else 1.0) / rate)
    return seconds
