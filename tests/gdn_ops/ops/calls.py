"""Inputs of small calls, and their results in fp64 to compare with."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import normalize, softplus

from gdn_ops.reference import recurrent_reference


def call(
    *,
    B: int = 2,
    T: int = 37,
    H: int = 2,
    HV: int = 4,
    K: int = 16,
    V: int = 32,
    dtype: torch.dtype = torch.float32,
    gate: str = "model",
    state: bool = True,
    offsets: list[int] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Arguments of ``chunk_gated_delta_rule``; gates "none", "zero", "model" or "strong"."""
    torch.manual_seed(seed)
    log_decay = {
        "model": -torch.rand(HV) * softplus(torch.randn(B, T, HV)),
        "zero": torch.zeros(B, T, HV),
        "strong": -60.0 * torch.rand(B, T, HV),
        "none": None,
    }[gate]
    N = B if offsets is None else len(offsets) - 1
    return {
        "q": normalize(torch.randn(B, T, H, K), dim=-1).to(dtype),
        "k": normalize(torch.randn(B, T, H, K), dim=-1).to(dtype),
        "v": torch.randn(B, T, HV, V).to(dtype),
        "g": log_decay,
        "beta": torch.rand(B, T, HV),
        "initial_state": torch.randn(N, HV, K, V) * 0.3 if state else None,
        "output_final_state": True,
        "cu_seqlens": None if offsets is None else torch.tensor(offsets),
    }


def expected(arguments: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return o and the final state of the call in fp64."""
    wide = {
        name: x.double()
        for name in ("q", "k", "v", "g", "beta", "initial_state")
        if (x := arguments[name]) is not None
    }
    o, ht = recurrent_reference(**wide, cu_seqlens=arguments["cu_seqlens"])
    return o, ht
