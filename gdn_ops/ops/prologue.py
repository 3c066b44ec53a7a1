"""What a call may ask to have done to its inputs before the rule: norms and activations."""

from __future__ import annotations

import torch

L2_EPSILON = 1e-6


def cleared(x: torch.Tensor, end: int) -> torch.Tensor:
    """x [B, T, ...] with zeros from a token on: what stands there, NaN too, reaches no gradient."""
    if end >= x.shape[1]:
        return x
    return torch.cat([x[:, :end], x.new_zeros(x.shape[0], x.shape[1] - end, *x.shape[2:])], dim=1)


def l2norm(x: torch.Tensor) -> torch.Tensor:
    """x / sqrt(sum(x^2) + 1e-6) over the last dimension, in fp32, in x's dtype again."""
    wide = x.float()
    norm = torch.rsqrt(torch.linalg.vecdot(wide, wide).add_(L2_EPSILON).unsqueeze(-1))
    return (wide * norm).to(x.dtype)


def activated_beta(
    beta: torch.Tensor | None, v: torch.Tensor, *, sigmoid: bool, neg_eigval: bool
) -> torch.Tensor:
    """beta [B, T, HV] as the rule uses it: ones, as given, sigmoid(b), or 2 sigmoid(b)."""
    if beta is None:
        return v.new_ones(v.shape[:3], dtype=torch.float32)
    if not sigmoid:
        return beta
    activated = beta.float().sigmoid()
    return activated * 2 if neg_eigval else activated
