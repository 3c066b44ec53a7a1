"""Inputs with the head counts of Qwen3-Next and Qwen3.5, and gates like those of their layers."""

from __future__ import annotations

import torch
from torch.nn.functional import normalize, softplus


def layer_inputs(
    *, B: int, T: int, H: int = 16, HV: int = 32, K: int = 128, V: int = 128, dtype: torch.dtype
) -> dict[str, torch.Tensor]:
    """Return random inputs of a call by name.

    q, k (normalised), v and beta are in ``dtype``; g (the log decay) and h0 are in fp32.
    """
    torch.manual_seed(0)
    rate = torch.empty(HV).uniform_(0, 16)
    a = torch.randn(B, T, HV)
    return {
        "q": normalize(torch.randn(B, T, H, K), dim=-1).to(dtype),
        "k": normalize(torch.randn(B, T, H, K), dim=-1).to(dtype),
        "v": torch.randn(B, T, HV, V).to(dtype),
        "g": -rate * softplus(0.5 * a + 1.0) * 0.1,
        "beta": torch.rand(B, T, HV).to(dtype),
        "h0": torch.randn(B, HV, K, V) * 0.1,
    }


def repeated(x: torch.Tensor, HV: int) -> torch.Tensor:
    """Return q or k with its heads repeated to HV, as transformers' layer passes them."""
    return x.repeat_interleave(HV // x.shape[2], dim=2)
