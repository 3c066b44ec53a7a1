"""How far an output is from the rule, how far it may be, and where it first goes wrong."""

from __future__ import annotations

from bisect import bisect_right
from math import isfinite, sqrt

import torch
from torch import Tensor

from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.variant import Variant

BARS = {
    "o": (5e-3, 1e-5),
    "ht": (5e-3, 1e-5),
    **dict.fromkeys(("dq", "dk", "dv", "dh0"), (8e-3, 1e-4)),
    **dict.fromkeys(("dg", "dbeta", "dA_log", "ddt_bias"), (2e-2, 1e-4)),
}
"""Largest error of an output: with 16-bit values anywhere, and in float32 throughout."""
HEAD_DIMS = {"o": (-1,), "ht": (-2, -1)}
"""Dimensions of an output over which ``first_wrong`` takes the mean: one head's values."""
ROUNDING_16 = ("tf32", "bf16", "fp16")
"""Precisions of dots with the 11 significant bits of float16 or fewer."""
TF32X3 = 10.0
"""Factor for dots of two tf32 halves: 22 significant bits, 4 times the rounding of float32's 24,
and the product of the low halves is dropped; with room for both."""
NOT_FINITE = 1e300
"""The error of an output with NaN or infinity in it; JSON knows no infinity."""
WIDE_KEYS = 64
"""Head dim K from which on unit keys hardly overlap; their cosines grow as K^-1/2 below it."""


def rms_error(out: Tensor, ref: Tensor) -> float:
    """Return RMS(ref - out) / (RMS(ref) + 1e-8), or NOT_FINITE for NaN or infinity in ``out``."""
    if not ref.numel():
        return 0.0
    error = _rms(ref.double() - out.double()) / (_rms(ref.double()) + 1e-8)
    return error if isfinite(error) else NOT_FINITE


def bar(output: str, problem: Problem, variant: Variant, *, slack: float = 1.0) -> float:
    """The largest error of an output that passes.

    float32 problems whose dots round to 16-bit significands (tf32 has float16's 11 bits) are held
    to the bar of 16-bit inputs.

    Args:
        slack: of the case.
    """
    half, single = BARS[output]
    dots = {value for _, config in variant.stages for name, value in config if name.endswith("dot")}
    if {problem.dtype, problem.state_dtype} != {"fp32"} or dots.intersection(ROUNDING_16):
        limit = half
    else:
        limit = single * (TF32X3 if "tf32x3" in dots else 1.0)
    return limit * slack * max(1.0, sqrt(WIDE_KEYS / problem.K))


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Whether two contiguous tensors hold the same bytes, NaN and signed zeros included."""
    return torch.equal(a.view(torch.uint8), b.view(torch.uint8))


def first_wrong(name: str, out: Tensor, ref: Tensor, limit: float, offsets: list[int]) -> str:
    """Say where an output first leaves the reference by more than ``limit``.

    Args:
        out, ref: o [B, T, HV, V] or ht [N, HV, K, V]; of packed sequences B is 1.
        offsets: first token of each packed sequence and the last one's end; empty when dense.
    """
    scale = _rms(ref.double()) + 1e-8
    error = (ref.double() - out.double()).abs() / scale
    if name in HEAD_DIMS:
        error = error.square().mean(HEAD_DIMS[name]).sqrt()
    wrong = ~(error <= limit)  # NaN is wrong too
    places = wrong.nonzero().tolist()
    if not places:
        return "spread thinly over all of it"
    if name not in ("o", "ht"):
        return f"first at {places[0]}"
    if name == "ht":
        sequence, head = places[0]
        return f"first in value head {head} of sequence {sequence}"
    sequence, token, head = min(places, key=lambda place: place[1])
    if offsets:
        sequence = bisect_right(offsets, token) - 1
        token -= offsets[sequence]
    return f"first at token {token} of sequence {sequence}, value head {head}"


def _rms(x: Tensor) -> float:
    return float(x.square().mean().sqrt())
