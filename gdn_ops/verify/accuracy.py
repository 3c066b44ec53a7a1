"""The error of an output, the largest error that passes, and where an output goes wrong."""

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
"""Largest error of each output: with 16-bit values anywhere, and with float32 throughout."""
HEAD_DIMS = {"o": (-1,), "ht": (-2, -1)}
"""Dimensions of an output that belong to one head; ``first_wrong`` takes the mean over them."""
ROUNDING_16 = ("tf32", "bf16", "fp16")
"""Dot precisions with at most the 11 significant bits of float16."""
TF32X3 = 10.0
"""Factor on the float32 bar for tf32x3 dots. They have 22 significant bits, so 4 times the rounding
error of float32's 24 bits, and drop the product of the low halves; 10 leaves room for both."""
NOT_FINITE = 1e300
"""Stands for the error of an output with NaN or infinity; JSON has no infinity."""
TINY = 1e-8
"""What the RMS of a reference that is 0 counts as."""
GRADIENT_NOISE = 1e-6
"""Error of a provider's gradient that always passes, as in flash-linear-attention's own tests.

Libraries take the gradient of the gate from differences of sums: where it is 0, as that of a first
token without a state is, they return 1e-7."""
WIDE_KEYS = 64
"""With a smaller head dim K the bar grows as K^-1/2, like the cosines between random unit keys."""


def rms_error(out: Tensor, ref: Tensor, *, tiny: float = TINY) -> float:
    """RMS(ref - out) / (RMS(ref) + tiny); NOT_FINITE if ``out`` has NaN or infinity."""
    if not ref.numel():
        return 0.0
    error = _rms(ref.double() - out.double()) / (_rms(ref.double()) + tiny)
    return error if isfinite(error) else NOT_FINITE


def bar(output: str, problem: Problem, variant: Variant, *, slack: float = 1.0) -> float:
    """The largest error of an output that passes.

    A float32 problem whose dots round to the 11 significant bits of float16 or fewer, such as tf32,
    gets the bar of 16-bit inputs.

    Args:
        output: name of the output, a key of ``BARS``.
        slack: factor on the bar, from the case.
    """
    half, single = BARS[output]
    dots = variant.precisions
    if {problem.dtype, problem.state_dtype} != {"fp32"} or dots.intersection(ROUNDING_16):
        limit = half
    else:
        limit = single * (TF32X3 if "tf32x3" in dots else 1.0)
    return limit * slack * max(1.0, sqrt(WIDE_KEYS / problem.K))


def tiny_of(output: str, variant: Variant, limit: float) -> float:
    """What ``rms_error`` adds to the reference's RMS for an output of a variant.

    Args:
        limit: the largest error that passes.
    """
    noisy = bool(variant.provider) and output.startswith("d")
    return max(TINY, GRADIENT_NOISE / limit) if noisy else TINY


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Whether two contiguous tensors have the same bytes, also for NaN and signed zeros."""
    return torch.equal(a.view(torch.uint8), b.view(torch.uint8))


def first_wrong(name: str, out: Tensor, ref: Tensor, limit: float, offsets: list[int]) -> str:
    """Describe where an output first differs from the reference by more than ``limit``.

    Args:
        out, ref: o [B, T, HV, V], ht [N, HV, K, V] or a gradient; B is 1 for packed sequences.
        offsets: first token of each packed sequence and the end of the last one; empty if not
            packed.
    """
    scale = _rms(ref.double()) + 1e-8
    error = (ref.double() - out.double()).abs() / scale
    if name in HEAD_DIMS:
        error = error.square().mean(HEAD_DIMS[name]).sqrt()
    wrong = ~(error <= limit)  # NaN counts as wrong
    places = wrong.nonzero().tolist()
    if not places:
        return "spread over all of it"
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
