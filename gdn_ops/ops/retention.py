"""Retention: linear attention whose heads decay at fixed rates."""

from __future__ import annotations

from typing import Any

import torch

from gdn_ops.ops.checks import check_tensor
from gdn_ops.ops.simple_gla import chunk_simple_gla


def chunk_retention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    scale: float | None = None,
    initial_state: torch.Tensor | None = None,
    output_final_state: bool = False,
    cu_seqlens: torch.Tensor | None = None,
    **more: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """RetNet's rule (arXiv 2307.08621, eq. 8): head h decays by 1 - 2^(-5 - h) a token.

    Arguments and results are those of ``chunk_simple_gla``.
    """
    check_tensor("v", v, 4)
    heads = torch.arange(v.shape[2], dtype=torch.float32, device=v.device)
    g = torch.log1p(-torch.exp2(-5 - heads)).expand(*v.shape[:2], -1)
    return chunk_simple_gla(
        q, k, v, g, scale=scale, initial_state=initial_state,
        output_final_state=output_final_state, cu_seqlens=cu_seqlens, **more,
    )  # fmt: skip
