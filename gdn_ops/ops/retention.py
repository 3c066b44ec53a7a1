"""Retention: linear attention with a fixed decay per head."""

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
    """Retention (RetNet, arXiv 2307.08621, eq. 8) on whole sequences.

    Linear attention in which value head h decays by the factor 1 - 2^(-5 - h) per token::

        S <- (1 - 2^(-5 - h)) S + k_t v_t^T;  o_t = scale S^T q_t

    Args:
        q, k: [B, T, H, K], bf16, fp16, fp32 or fp64.
        v: [B, T, HV, V], in q's dtype; HV a multiple of H.
        scale: factor on the outputs; None: K^-0.5.
        initial_state: [N, HV, K, V]; None: zeros.
        output_final_state: whether to return the final state.
        cu_seqlens: [N + 1] int32 or int64, offsets of sequences packed in one row (B = 1).
        more: other keyword arguments of ``chunk_simple_gla``.

    Returns:
        o [B, T, HV, V] in q's dtype, and the final state [N, HV, K, V] or None; the state is in
        fp32, or in fp64 for fp64 inputs.

    Raises:
        InvalidInput: a tensor violates this contract; the message says how.
        UnsupportedProblem: no plan can run the call, or an argument is not supported.
    """
    check_tensor("v", v, 4)
    heads = torch.arange(v.shape[2], dtype=torch.float32, device=v.device)
    g = torch.log1p(-torch.exp2(-5 - heads)).expand(*v.shape[:2], -1)
    return chunk_simple_gla(
        q, k, v, g, scale=scale, initial_state=initial_state,
        output_final_state=output_final_state, cu_seqlens=cu_seqlens, **more,
    )  # fmt: skip
