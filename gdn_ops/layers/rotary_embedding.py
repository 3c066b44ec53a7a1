"""Rotary position embedding (arXiv 2104.09864)."""

from __future__ import annotations

import torch
from torch import Tensor


def rotate(x: Tensor, positions: Tensor, theta: float = 10000.0) -> Tensor:
    """Turn each pair of channels (i, i + D/2) by positions * theta^(-2i/D), in float32.

    Args:
        x: [B, T, heads, D], D even.
        positions: [B, T].
        theta: base of the wavelengths.

    Returns:
        x's shape and dtype.
    """
    half = x.shape[-1] // 2
    wide = torch.promote_types(x.dtype, torch.float32)
    exponents = torch.arange(half, device=x.device, dtype=wide) / half
    angles = (positions.to(wide)[..., None] * theta**-exponents)[:, :, None]  # [B, T, 1, D/2]
    cos, sin = angles.cos(), angles.sin()
    first, second = x[..., :half].to(wide), x[..., half:].to(wide)
    turned = [first * cos - second * sin, second * cos + first * sin]
    return torch.cat(turned, dim=-1).to(x.dtype)
