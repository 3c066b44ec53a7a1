"""Linear attention with one decay a head: simple GLA, the core of Mamba-2."""

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
    """S <- exp(g) S + k v^T, o = scale S^T q (the core of Mamba-2, arXiv 2405.21060).

    Args:
        q, k: [B, T, H, K]; v: [B, T, HV, V], HV a multiple of H.
        g: [B, T, HV] log decay (<= 0) of each token; None: no gate.
        g_gamma: [HV] log decay (<= 0) of every token; instead of g.

    Other arguments and results are those of ``chunk_gated_delta_rule``.

    Raises:
        InvalidInput: g and ``g_gamma`` together, or a tensor outside the contract.
        UnsupportedProblem: an argument that asks for what is not built.
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
    """The rule of ``chunk_simple_gla`` with the recurrent function's signature.

    Meant for decoding, T = 1 with both states; any T is right, and the dispatcher runs whatever
    variant is fastest for the sizes.

    Args:
        reverse: from the last token to the first; not built.

    Other arguments, results and errors are those of ``chunk_simple_gla``.
    """
    if reverse:
        raise UnsupportedProblem(
            "fused_recurrent_simple_gla has no reverse yet; flip q, k, v, g by token, and o back."
        )
    if unknown:
        state_v_first = renamed(unknown, state_v_first)
        refuse_more("fused_recurrent_simple_gla", unknown)
    return chunk_simple_gla(
        q, k, v, g, g_gamma, scale, initial_state, output_final_state, state_v_first, cu_seqlens
    )
