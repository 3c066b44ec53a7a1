"""Kimi delta attention: the gated delta rule whose gate has a value a key channel."""

from __future__ import annotations

from typing import Any

import torch

from gdn_ops.errors import InvalidInput, UnsupportedProblem
from gdn_ops.launch.packing import packing_of
from gdn_ops.ops.by_reference import by_reference
from gdn_ops.ops.checks import Arguments, check_arguments
from gdn_ops.ops.dispatched import dispatched
from gdn_ops.ops.gated_delta_rule import NEG_EIGVAL_ALONE
from gdn_ops.ops.prologue import activated_beta, cleared, l2norm
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

    Computed by the plans, which the dispatcher chooses from; float64, which they do not compute in,
    by the chunkwise form of ``gdn_ops.reference``.

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
    if isinstance(q, torch.Tensor) and q.dtype == torch.float64:
        check_arguments(
            Arguments(
                q, k, v, g, beta, initial_state, output_final_state, raw is not None,
                *(raw or (None, None)), state_v_first, cu_seqlens,
            )
        )  # fmt: skip
        if cu_seqlens is not None:
            end = packing_of(cu_seqlens, q.shape[1], cu_seqlens_cpu).offsets[-1]
            q, k, g = (cleared(x, end) for x in (q, k, g))
            beta = None if beta is None else cleared(beta, end)
        if use_qk_l2norm_in_kernel:
            q, k = l2norm(q), l2norm(k)
        sigmoid, neg_eigval = use_beta_sigmoid_in_kernel, allow_neg_eigval
        return by_reference(
            q, k, v, g if raw is None else _activated(g, *raw),
            activated_beta(beta, v, sigmoid=sigmoid, neg_eigval=neg_eigval),
            delta=True, scale=scale, initial_state=initial_state,
            output_final_state=output_final_state, state_v_first=state_v_first,
            cu_seqlens=cu_seqlens,
        )  # fmt: skip
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


def _activated(
    g: torch.Tensor, A_log: torch.Tensor | None, dt_bias: torch.Tensor | None
) -> torch.Tensor:
    """The log decay of a checked raw gate, in fp64."""
    assert A_log is not None
    return log_decay(g.double(), A_log.double(), None if dt_bias is None else dt_bias.double())


def refuse_more(name: str, more: dict[str, Any]) -> None:
    """Refuse what a contract has and nothing here computes; switched off it is let through."""
    # by identity: a tensor of zeros equals False, and was asked for all the same
    asked = [n for n, value in more.items() if value is not None and value is not False]
    if asked:
        raise UnsupportedProblem(f"{name} has no {', '.join(sorted(asked))} yet; leave it out.")
