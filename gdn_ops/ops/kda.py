"""Kimi delta attention: the gated delta rule whose gate has a value a key channel."""

from __future__ import annotations

from typing import Any

import torch

from gdn_ops.errors import InvalidInput, UnsupportedProblem
from gdn_ops.ops.by_reference import by_reference
from gdn_ops.ops.gated_delta_rule import NEG_EIGVAL_ALONE
from gdn_ops.ops.prologue import activated_beta, cleared, l2norm
from gdn_ops.packing import packing_of
from gdn_ops.reference import log_decay


def chunk_kda(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    g: torch.Tensor,
    beta: torch.Tensor | None,
    scale: float | None = None,
    initial_state: torch.Tensor | None = None,
    output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = False,
    use_gate_in_kernel: bool = False,
    use_beta_sigmoid_in_kernel: bool = False,
    allow_neg_eigval: bool = False,
    state_v_first: bool = False,
    cu_seqlens: torch.Tensor | None = None,
    cu_seqlens_cpu: torch.Tensor | None = None,
    *,
    A_log: torch.Tensor | None = None,
    dt_bias: torch.Tensor | None = None,
    **unknown: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The delta rule with a vector gate (KDA, arXiv 2510.26692).

    Computed by the chunkwise form in plain PyTorch, in fp32, on any device: no kernel has the
    vector gate yet.

    Args:
        g: [B, T, HV, K] log decay (<= 0), or with ``use_gate_in_kernel`` raw, the log decay being
            -exp(A_log) softplus(g + dt_bias) with A_log [HV] and dt_bias [HV * K] or None.

    Other arguments, results and errors are those of ``chunk_gated_delta_rule``.

    Raises:
        UnsupportedProblem: an argument that asks for what is not built (``safe_gate``,
            ``lower_bound``, ``cp_context``, ``return_intermediate_states`` ...).
    """
    refuse_more("chunk_kda", unknown)
    HV, K = v.shape[2], k.shape[3]
    if cu_seqlens is not None:
        end = packing_of(cu_seqlens, q.shape[1], cu_seqlens_cpu).offsets[-1]
        q, k, g = (cleared(x, end) for x in (q, k, g))
        beta = None if beta is None else cleared(beta, end)
    if use_gate_in_kernel:
        if A_log is None:
            raise InvalidInput("use_gate_in_kernel=True and A_log is None; give A_log [HV].")
        bias = None if dt_bias is None else dt_bias.view(HV, K)
        g = log_decay(g, A_log.view(HV, 1), bias)
    if allow_neg_eigval and not use_beta_sigmoid_in_kernel:
        raise InvalidInput(NEG_EIGVAL_ALONE)
    if use_qk_l2norm_in_kernel:
        q, k = l2norm(q), l2norm(k)
    beta = activated_beta(beta, v, sigmoid=use_beta_sigmoid_in_kernel, neg_eigval=allow_neg_eigval)
    return by_reference(
        q, k, v, g, beta, delta=True, scale=scale, initial_state=initial_state,
        output_final_state=output_final_state, state_v_first=state_v_first, cu_seqlens=cu_seqlens,
    )  # fmt: skip


def refuse_more(name: str, more: dict[str, Any]) -> None:
    """Refuse what a contract has and nothing here computes; switched off it is let through."""
    asked = [argument for argument, value in more.items() if value not in (None, False)]
    if asked:
        raise UnsupportedProblem(f"{name} has no {', '.join(sorted(asked))} yet; leave it out.")
