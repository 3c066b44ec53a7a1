"""Preparing the inputs of the rule: norms, activations, and zeros in the padding."""

from __future__ import annotations

import torch

from gdn_ops.launch.packing import packing_of
from gdn_ops.ops.unreadable import unreadable

L2_EPSILON = 1e-6


def cleared(x: torch.Tensor, end: int) -> torch.Tensor:
    """Return x [B, T, ...] with zeros from token ``end`` on.

    Values after ``end`` (even NaN) then affect neither results nor gradients.
    """
    if end >= x.shape[1]:
        return x
    return torch.cat([x[:, :end], x.new_zeros(x.shape[0], x.shape[1] - end, *x.shape[2:])], dim=1)


def cleared_behind(x: torch.Tensor, cu_seqlens: torch.Tensor) -> torch.Tensor:
    """Return x with zeros after the last packed sequence, without copying ``cu_seqlens``."""
    used = torch.arange(x.shape[1], device=x.device) < cu_seqlens[-1]
    return torch.where(used.view(1, -1, *[1] * (x.dim() - 2)), x, x.new_zeros(()))


def without_padding(
    x: torch.Tensor, cu_seqlens: torch.Tensor | None, cu_seqlens_cpu: torch.Tensor | None = None
) -> torch.Tensor:
    """Return x [B, T, ...] of a checked call, with zeros after the last packed sequence."""
    if cu_seqlens is None:
        return x
    if unreadable(cu_seqlens):
        return cleared_behind(x, cu_seqlens)
    return cleared(x, packing_of(cu_seqlens, x.shape[1], cu_seqlens_cpu).offsets[-1])


def wide(x: torch.Tensor) -> torch.Tensor:
    """Return x in fp32, or unchanged if it is fp64."""
    return x if x.dtype == torch.float64 else x.float()


def l2norm(x: torch.Tensor) -> torch.Tensor:
    """Return x / sqrt(sum(x^2) + 1e-6) over the last dimension, computed in fp32 or fp64.

    The result has x's dtype.
    """
    x_wide = wide(x)
    # vector_norm rather than a product, which autocast would round
    squares = torch.linalg.vector_norm(x_wide, dim=-1, keepdim=True).square()
    return (x_wide * torch.rsqrt(squares.add_(L2_EPSILON))).to(x.dtype)


def activated_beta(
    beta: torch.Tensor | None, v: torch.Tensor, *, sigmoid: bool, neg_eigval: bool
) -> torch.Tensor:
    """Return beta [B, T, HV] for the rule.

    It is ones for None, else beta itself, or with ``sigmoid`` its sigmoid, doubled with
    ``neg_eigval``.
    """
    if beta is None:
        return v.new_ones(v.shape[:3], dtype=torch.float32)
    if not sigmoid:
        return beta
    activated = wide(beta).sigmoid()
    return activated * 2 if neg_eigval else activated
