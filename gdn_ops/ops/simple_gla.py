"""Linear attention with one decay per head: simple GLA, the core of Mamba-2."""

from __future__ import annotations

from typing import Any

import torch

from gdn_ops.errors import InvalidInput, UnsupportedProblem
from gdn_ops.ops.checks import check_tensor
from gdn_ops.ops.dispatched import dispatched
from gdn_ops.ops.keywords import check_chunk_size, refuse_more, renamed


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
    """Linear attention with one decay per head (the core of Mamba-2, arXiv 2405.21060).

    Per value head, with the state S [K, V]::

        S <- exp(g_t) S + k_t v_t^T;  o_t = scale S^T q_t

    Args:
        q, k: [B, T, H, K], bf16, fp16, fp32 or fp64.
        v: [B, T, HV, V], in q's dtype; HV a multiple of H.
        g: [B, T, HV] log decay (<= 0, checked on the CPU only), any float dtype; None: no gate.
        g_gamma: [HV] log decay (<= 0), the same for every token; give it instead of g.
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
        InvalidInput: g and ``g_gamma`` are both given, or a tensor violates this contract.
        UnsupportedProblem: no plan can run the call, or an argument is not supported.
    """
    if unknown:
        check_chunk_size(unknown.pop("chunk_size", None))
        refuse_more("chunk_simple_gla", unknown)
    if g_gamma is not None:
        if g is not None:
            raise InvalidInput("g and g_gamma are both given; give one of them, or g + g_gamma.")
        check_tensor("v", v, 4)
        check_tensor("g_gamma", g_gamma)
        if tuple(g_gamma.shape) != (v.shape[2],):
            raise InvalidInput(
                f"g_gamma has shape {list(g_gamma.shape)}; it must be [HV] = [{v.shape[2]}]."
            )
        g = g_gamma.expand(v.shape[:3])
    return dispatched(
        q, k, v, g, None, scale, initial_state, output_final_state, state_v_first, cu_seqlens,
        cu_seqlens_cpu, None, False, False, False, False,
    )  # fmt: skip


def fused_recurrent_simple_gla(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    g: torch.Tensor | None = None,
    g_gamma: torch.Tensor | None = None,
    scale: float | None = None,
    initial_state: torch.Tensor | None = None,
    output_final_state: bool = False,
    reverse: bool = False,
    state_v_first: bool = False,
    cu_seqlens: torch.Tensor | None = None,
    **unknown: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Linear attention with one decay per head (arXiv 2405.21060), with the signature for decoding.

    The rule is that of ``chunk_simple_gla``. This function is meant for decoding: T = 1 with an
    initial and a final state. Any T is allowed; the dispatcher picks the fastest variant for the
    sizes.

    Args:
        q, k: [B, T, H, K], bf16, fp16, fp32 or fp64.
        v: [B, T, HV, V], in q's dtype; HV a multiple of H.
        g: [B, T, HV] log decay (<= 0); None: no gate.
        g_gamma: [HV] log decay (<= 0), the same for every token; give it instead of g.
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
        InvalidInput: g and ``g_gamma`` are both given, or a tensor violates this contract.
        UnsupportedProblem: no plan can run the call, or an argument is not supported.
    """
    if reverse:
        raise UnsupportedProblem(
            "fused_recurrent_simple_gla does not support reverse=True yet; flip q, k, v and g "
            "along the tokens, and flip o back."
        )
    if unknown:
        state_v_first = renamed(unknown, state_v_first)
        refuse_more("fused_recurrent_simple_gla", unknown)
    return chunk_simple_gla(
        q, k, v, g, g_gamma, scale, initial_state, output_final_state, state_v_first, cu_seqlens
    )
