"""Gated linear attention: one decay per key channel."""

from __future__ import annotations

from typing import Any

import torch

from gdn_ops.errors import UnsupportedProblem
from gdn_ops.ops.dispatched import dispatched
from gdn_ops.ops.keywords import refuse_more, renamed


def chunk_gla(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    g: torch.Tensor | None,
    scale: float | None = None,
    initial_state: torch.Tensor | None = None,
    output_final_state: bool = False,
    state_v_first: bool = False,
    cu_seqlens: torch.Tensor | None = None,
    cu_seqlens_cpu: torch.Tensor | None = None,
    **unknown: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Gated linear attention (GLA, arXiv 2312.06635) on whole sequences.

    Per value head, with the state S [K, V]::

        S <- diag(exp(g_t)) S + k_t v_t^T;  o_t = scale S^T q_t

    Args:
        q, k: [B, T, H, K], bf16, fp16, fp32 or fp64.
        v: [B, T, HV, V], in q's dtype; HV a multiple of H.
        g: [B, T, HV, K] log decay (<= 0, checked on the CPU only), any float dtype; None: no gate.
        scale: factor on the outputs; None: K^-0.5.
        initial_state: [N, HV, K, V]; None: zeros.
        output_final_state: whether to return the final state.
        state_v_first: whether states are [N, HV, V, K].
        cu_seqlens: [N + 1] int32 or int64, offsets of sequences packed in one row (B = 1).
        cu_seqlens_cpu: the same numbers on the host, which avoids a copy from the GPU.

    Returns:
        o [B, T, HV, V] in q's dtype, and the final state [N, HV, K, V] or None; the state is in
        fp32, or in fp64 for fp64 inputs.

    Raises:
        InvalidInput: a tensor violates this contract; the message says how.
        UnsupportedProblem: no plan can run the call, or an argument is not supported.
    """
    if unknown:
        refuse_more("chunk_gla", unknown)
    return dispatched(
        q, k, v, g, None, scale, initial_state, output_final_state, state_v_first, cu_seqlens,
        cu_seqlens_cpu, None, False, False, False, False,
    )  # fmt: skip


def fused_recurrent_gla(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    gk: torch.Tensor | None = None,
    gv: torch.Tensor | None = None,
    scale: float | None = None,
    initial_state: torch.Tensor | None = None,
    output_final_state: bool = False,
    reverse: bool = False,
    state_v_first: bool = False,
    cu_seqlens: torch.Tensor | None = None,
    **unknown: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Gated linear attention (GLA, arXiv 2312.06635), with the signature for decoding.

    The rule is that of ``chunk_gla``. This function is meant for decoding: T = 1 with an initial
    and a final state. Any T is allowed; the dispatcher picks the fastest variant for the sizes.

    Args:
        q, k: [B, T, H, K], bf16, fp16, fp32 or fp64.
        v: [B, T, HV, V], in q's dtype; HV a multiple of H.
        gk: [B, T, HV, K] log decay (<= 0) per key channel; None: no gate.
        gv: must be None; a decay per value channel is not supported.
        scale: factor on the outputs; None: K^-0.5.
        initial_state: [N, HV, K, V]; None: zeros.
        output_final_state: whether to return the final state.
        reverse: must be False; running from the last token to the first is not supported.
        state_v_first: whether states are [N, HV, V, K].
        cu_seqlens: [N + 1] int32 or int64, offsets of sequences packed in one row (B = 1).

    Returns:
        o [B, T, HV, V] in q's dtype, and the final state [N, HV, K, V] or None; the state is in
        fp32, or in fp64 for fp64 inputs.

    Raises:
        InvalidInput: a tensor violates this contract; the message says how.
        UnsupportedProblem: no plan can run the call, or an argument is not supported.
    """
    if reverse:
        raise UnsupportedProblem(
            "fused_recurrent_gla does not support reverse=True yet; flip q, k, v and gk along the "
            "tokens, and flip o back."
        )
    if unknown or gv is not None:
        state_v_first = renamed(unknown, state_v_first)
        refuse_more("fused_recurrent_gla", unknown | {"gv": gv})
    return chunk_gla(
        q, k, v, gk, scale, initial_state, output_final_state, state_v_first, cu_seqlens
    )
