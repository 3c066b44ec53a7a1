"""Gated linear attention: a decay a key channel."""

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
    """S <- diag(exp(g)) S + k v^T, o = scale S^T q (GLA, arXiv 2312.06635).

    Args:
        q, k: [B, T, H, K]; v: [B, T, HV, V], HV a multiple of H.
        g: [B, T, HV, K] log decay (<= 0); None: no gate.

    Other arguments and results are those of ``chunk_gated_delta_rule``.

    Raises:
        InvalidInput: a tensor is outside the contract.
        UnsupportedProblem: an argument that asks for what is not built.
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
    """The rule of ``chunk_gla`` with the recurrent function's signature.

    Meant for decoding, T = 1 with both states; any T is right, and the dispatcher runs whatever
    variant is fastest for the sizes.

    Args:
        gk: [B, T, HV, K], ``g`` of ``chunk_gla``.
        gv: log decay of each value channel; not built.
        reverse: from the last token to the first; not built.

    Other arguments, results and errors are those of ``chunk_gla``.
    """
    if reverse:
        raise UnsupportedProblem(
            "fused_recurrent_gla has no reverse yet; flip q, k, v, gk by token, and o back."
        )
    if unknown or gv is not None:
        state_v_first = renamed(unknown, state_v_first)
        refuse_more("fused_recurrent_gla", unknown | {"gv": gv})
    return chunk_gla(
        q, k, v, gk, scale, initial_state, output_final_state, state_v_first, cu_seqlens
    )
