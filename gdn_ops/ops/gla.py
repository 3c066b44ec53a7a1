"""Gated linear attention: a decay a key channel."""

from __future__ import annotations

from typing import Any

import torch

from gdn_ops.ops.by_reference import by_reference
from gdn_ops.ops.kda import refuse_more


def chunk_gla(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    g: torch.Tensor,
    scale: float | None = None,
    initial_state: torch.Tensor | None = None,
    output_final_state: bool = False,
    state_v_first: bool = False,
    cu_seqlens: torch.Tensor | None = None,
    **unknown: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """S <- diag(exp(g)) S + k v^T, o = scale S^T q (GLA, arXiv 2312.06635).

    Computed by the chunkwise form in plain PyTorch, in fp32, on any device: no kernel has the
    vector gate yet.

    Args:
        q, k: [B, T, H, K]; v: [B, T, HV, V], HV a multiple of H.
        g: [B, T, HV, K] log decay (<= 0).

    Other arguments and results are those of ``chunk_gated_delta_rule``.

    Raises:
        UnsupportedProblem: an argument that asks for what is not built.
    """
    refuse_more("chunk_gla", unknown)
    return by_reference(
        q, k, v, g, None, delta=False, scale=scale, initial_state=initial_state,
        output_final_state=output_final_state, state_v_first=state_v_first, cu_seqlens=cu_seqlens,
    )  # fmt: skip
