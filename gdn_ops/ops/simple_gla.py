"""Linear attention with one decay a head, of each token (simple GLA, Mamba-2) or fixed (RetNet)."""

from __future__ import annotations

from typing import Any

import torch

from gdn_ops.errors import InvalidInput
from gdn_ops.ops.by_reference import by_reference
from gdn_ops.ops.kda import refuse_more


def chunk_simple_gla(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    g: torch.Tensor | None = None,
    g_gamma: torch.Tensor | None = None,
    scale: float | None = None,
    initial_state: torch.Tensor | None = None,
    output_final_state: bool = False,
    state_v_first: bool = False,
    cu_seqlens: torch.Tensor | None = None,
    cu_seqlens_cpu: torch.Tensor | None = None,
    **unknown: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """S <- exp(g) S + k v^T, o = scale S^T q (the core of Mamba-2, arXiv 2405.21060).

    Computed by the chunkwise form in plain PyTorch, in fp32, on any device and differentiable: no
    kernel has the rule without the delta yet.

    Args:
        q, k: [B, T, H, K]; v: [B, T, HV, V], HV a multiple of H.
        g: [B, T, HV] log decay (<= 0) of each token; None: no gate.
        g_gamma: [HV] log decay (<= 0) of every token; instead of g.

    Other arguments and results are those of ``chunk_gated_delta_rule``.

    Raises:
        InvalidInput: g and ``g_gamma`` together, or a tensor outside the contract.
        UnsupportedProblem: an argument that asks for what is not built.
    """
    refuse_more("chunk_simple_gla", unknown)
    if g_gamma is not None:
        if g is not None:
            raise InvalidInput("g and g_gamma are both given; give one of them, or g + g_gamma.")
        if tuple(g_gamma.shape) != (v.shape[2],):
            raise InvalidInput(
                f"g_gamma has shape {list(g_gamma.shape)}; it must be [HV] = [{v.shape[2]}]."
            )
        g = g_gamma.expand(v.shape[:3])
    return by_reference(
        q, k, v, g, None, delta=False, scale=scale, initial_state=initial_state,
        output_final_state=output_final_state, state_v_first=state_v_first, cu_seqlens=cu_seqlens,
    )  # fmt: skip


def chunk_retention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    scale: float | None = None,
    initial_state: torch.Tensor | None = None,
    output_final_state: bool = False,
    state_v_first: bool = False,
    cu_seqlens: torch.Tensor | None = None,
    **unknown: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Linear attention whose head h decays by 1 - 2^(-5 - h) a token (RetNet, arXiv 2307.08621).

    Arguments, results and errors are those of ``chunk_simple_gla``.
    """
    refuse_more("chunk_retention", unknown)
    heads = torch.arange(v.shape[2], device=q.device, dtype=torch.float32)
    return chunk_simple_gla(
        q, k, v, None, torch.log1p(-torch.exp2(-5 - heads)), scale, initial_state,
        output_final_state, state_v_first, cu_seqlens,
    )  # fmt: skip
