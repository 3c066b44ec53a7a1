"""Kimi delta attention: the gated delta rule whose gate has a value a key channel."""

from __future__ import annotations

from typing import Any

import torch

from gdn_ops.errors import InvalidInput, UnsupportedProblem
from gdn_ops.ops.dispatched import dispatched
from gdn_ops.ops.gated_delta_rule import NEG_EIGVAL_ALONE


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

    Args:
        g: [B, T, HV, K] log decay (<= 0), or with ``use_gate_in_kernel`` raw, the log decay being
            -exp(A_log) softplus(g + dt_bias) with A_log [HV] and dt_bias [HV, K], [HV * K] or None.

    Other arguments, results and errors are those of ``chunk_gated_delta_rule``.

    Raises:
        UnsupportedProblem: an argument that asks for what is not built (``safe_gate``,
            ``lower_bound``, ``cp_context``, ``return_intermediate_states`` ...).
    """
    refuse_more("chunk_kda", unknown)
    if allow_neg_eigval and not use_beta_sigmoid_in_kernel:
        raise InvalidInput(NEG_EIGVAL_ALONE)
    raw = (_flat(A_log), _by_channel(dt_bias, k)) if use_gate_in_kernel else None
    return dispatched(
        q, k, v, g, beta, scale, initial_state, output_final_state, state_v_first, cu_seqlens,
        cu_seqlens_cpu, raw, use_qk_l2norm_in_kernel, use_beta_sigmoid_in_kernel, allow_neg_eigval,
        True,
    )  # fmt: skip


def fused_recurrent_kda(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    g: torch.Tensor,
    beta: torch.Tensor | None,
    A_log: torch.Tensor | None = None,
    dt_bias: torch.Tensor | None = None,
    scale: float | None = None,
    initial_state: torch.Tensor | None = None,
    output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = False,
    use_gate_in_kernel: bool = False,
    use_beta_sigmoid_in_kernel: bool = False,
    allow_neg_eigval: bool = False,
    lower_bound: float | None = None,
    state_v_first: bool = False,
    cu_seqlens: torch.Tensor | None = None,
    **unknown: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The rule of ``chunk_kda`` with the recurrent function's signature.

    Meant for decoding, T = 1 with both states; any T is right, and the dispatcher runs whatever
    variant is fastest for the sizes. ``lower_bound`` is not built; other arguments, results and
    errors are those of ``chunk_kda``.
    """
    refuse_more("fused_recurrent_kda", {"lower_bound": lower_bound})
    return chunk_kda(
        q, k, v, g, beta, scale, initial_state, output_final_state, use_qk_l2norm_in_kernel,
        use_gate_in_kernel, use_beta_sigmoid_in_kernel, allow_neg_eigval, state_v_first, cu_seqlens,
        A_log=A_log, dt_bias=dt_bias, **unknown,
    )  # fmt: skip


def _flat(A_log: torch.Tensor | None) -> torch.Tensor | None:
    """A_log [HV], which models also keep as [1, 1, HV, 1]."""
    return A_log.flatten() if isinstance(A_log, torch.Tensor) else A_log


def _by_channel(dt_bias: torch.Tensor | None, k: torch.Tensor) -> torch.Tensor | None:
    """dt_bias [HV, K], which models keep as [HV * K]."""
    flat = isinstance(dt_bias, torch.Tensor) and dt_bias.dim() == 1
    if dt_bias is None or not flat or not isinstance(k, torch.Tensor) or k.dim() != 4:
        return dt_bias
    K = k.shape[-1]
    return dt_bias if K == 0 or dt_bias.numel() % K else dt_bias.reshape(-1, K)


def refuse_more(name: str, more: dict[str, Any]) -> None:
    """Refuse what a contract has and nothing here computes; switched off it is let through."""
    # by identity: a tensor of zeros equals False, and was asked for all the same
    asked = [n for n, value in more.items() if value is not None and value is not False]
    if asked:
        raise UnsupportedProblem(f"{name} has no {', '.join(sorted(asked))} yet; leave it out.")
