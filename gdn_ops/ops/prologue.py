"""What a call may ask to have done to its inputs before the rule: norms and activations."""

from __future__ import annotations

import torch

from gdn_ops.launch.packing import packing_of
from gdn_ops.ops.unreadable import unreadable

L2_EPSILON = 1e-6


def cleared(x: torch.Tensor, end: int) -> torch.Tensor:
    """x [B, T, ...] with zeros from a token on: what stands there, NaN too, reaches no gradient."""
    if end >= x.shape[1]:
        return x
    return torch.cat([x[:, :end], x.new_zeros(x.shape[0], x.shape[1] - end, *x.shape[2:])], dim=1)


def cleared_behind(x: torch.Tensor, cu_seqlens: torch.Tensor) -> torch.Tensor:
    """``cleared`` behind the last packed sequence, without reading ``cu_seqlens`` to the host."""
    used = torch.arange(x.shape[1], device=x.device) < cu_seqlens[-1]
    return torch.where(used.view(1, -1, *[1] * (x.dim() - 2)), x, x.new_zeros(()))


def without_padding(
    x: torch.Tensor, cu_seqlens: torch.Tensor | None, cu_seqlens_cpu: torch.Tensor | None = None
) -> torch.Tensor:
    """x [B, T, ...] of a checked call, with zeros behind the last packed sequence."""
    if cu_seqlens is None:
        return x
    if unreadable(cu_seqlens):
        return cleared_behind(x, cu_seqlens)
    return cleared(x, packing_of(cu_seqlens, x.shape[1], cu_seqlens_cpu).offsets[-1])


def wide(x: torch.Tensor) -> torch.Tensor:
    """x in fp32, or in fp64 where it is that."""
    return x if x.dtype == torch.float64 else x.float()


def l2norm(x: torch.Tensor) -> torch.Tensor:
    """x / sqrt(sum(x^2) + 1e-6) over the last dimension, in fp32 at least, in x's dtype again."""
    x_wide = wide(x)
    # no product, which autocast would round
    squares = torch.linalg.vector_norm(x_wide, dim=-1, keepdim=True).square()
    return (x_wide * torch.rsqrt(squares.add_(L2_EPSILON))).to(x.dtype)


def activated_beta(
    beta: torch.Tensor | None, v: torch.Tensor, *, sigmoid: bool, neg_eigval: bool
) -> torch.Tensor:
    """beta [B, T, HV] as the rule uses it: ones, as given, sigmoid(b), or 2 sigmoid(b)."""
    if beta is None:
        return v.new_ones(v.shape[:3], dtype=torch.float32)
    if not sigmoid:
        return beta
    activated = wide(beta).sigmoid()
    return activated * 2 if neg_eigval else activated
