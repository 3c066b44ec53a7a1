"""Kimi delta attention: the gated delta rule whose gate has a value a key channel."""

from __future__ import annotations

from sys import float_info
from typing import Any

import torch

from gdn_ops.codegen.errors import shown
from gdn_ops.errors import InvalidInput, UnsupportedProblem
from gdn_ops.ops.checks import Arguments, check_arguments, check_tensor
from gdn_ops.ops.dispatched import dispatched
from gdn_ops.ops.gated_delta_rule import NEG_EIGVAL_ALONE
from gdn_ops.ops.keywords import check_chunk_size, refuse_more, renamed
from gdn_ops.ops.one_dtype import in_one_dtype
from gdn_ops.ops.prologue import wide, without_padding
from gdn_ops.reference import bounded_log_decay

SAFE_BOUND = -5.0
"""The lowest bound that flash-linear-attention takes with ``safe_gate``."""


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
    safe_gate: bool = False,
    lower_bound: float | None = None,
    disable_recompute: bool = False,
    return_intermediate_states: bool = False,
    state_v_first: bool = False,
    cu_seqlens: torch.Tensor | None = None,
    cu_seqlens_cpu: torch.Tensor | None = None,
    cp_context: object | None = None,
    use_graph: bool = False,
    max_num_seqs: int | None = None,
    *,
    A_log: torch.Tensor | None = None,
    dt_bias: torch.Tensor | None = None,
    **unknown: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The delta rule with a vector gate (KDA, arXiv 2510.26692).

    Args:
        g: [B, T, HV, K] log decay (<= 0), or with ``use_gate_in_kernel`` raw, the log decay being
            -exp(A_log) softplus(g + dt_bias) with A_log [HV] and dt_bias [HV, K], [HV * K] or None.
        lower_bound: with ``use_gate_in_kernel`` the log decay is
            lower_bound sigmoid(exp(A_log) (g + dt_bias)) instead, or with A_log None
            lower_bound sigmoid(g + dt_bias); a number below 0. Without it nothing is changed.
        safe_gate: no log decay is below -5. With ``use_gate_in_kernel`` it asks for a
            ``lower_bound`` from -5 on; without, it is a hint, and not needed.
        max_num_seqs: accepted and not needed.
        disable_recompute, return_intermediate_states, cp_context, use_graph: must be left out;
            ``gdn_ops.keeping`` does what the first one asks for.

    Other arguments, results and errors are those of ``chunk_gated_delta_rule``.

    Raises:
        UnsupportedProblem: an argument that asks for what is not built.
    """
    if disable_recompute:
        raise UnsupportedProblem(
            "chunk_kda takes no disable_recompute; put the call in gdn_ops.keeping('states')."
        )
    if unknown or return_intermediate_states or cp_context is not None or use_graph:
        state_v_first = renamed(unknown, state_v_first)
        check_chunk_size(unknown.pop("chunk_size", None))
        given = {"return_intermediate_states": return_intermediate_states, "use_graph": use_graph}
        refuse_more("chunk_kda", unknown | given | {"cp_context": cp_context})
    if allow_neg_eigval and not use_beta_sigmoid_in_kernel:
        raise InvalidInput(NEG_EIGVAL_ALONE)
    raw = (_flat(A_log), _by_channel(dt_bias, k)) if use_gate_in_kernel else None
    if use_gate_in_kernel and (safe_gate or lower_bound is not None):
        bound = _checked_bound(lower_bound, safe=safe_gate)
        check_tensor("v", v, 4)
        A_log, dt_bias = raw or (None, None)
        if A_log is None:
            A_log = v.new_zeros(v.shape[2], dtype=torch.float32)
        check_arguments(
            Arguments(
                q, k, v, g, beta, initial_state, output_final_state, True, A_log, dt_bias,
                state_v_first, cu_seqlens,
            )
        )  # fmt: skip
        g = without_padding(wide(g), cu_seqlens, cu_seqlens_cpu)
        bias = None if dt_bias is None else wide(dt_bias)
        g, raw = bounded_log_decay(g, wide(A_log), bias, bound), None
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
    variant is fastest for the sizes. q, k and v may be of different dtypes: the rule runs in the
    widest, and o has v's dtype. Arguments, results and errors are those of ``chunk_kda``.
    """
    if unknown:
        state_v_first = renamed(unknown, state_v_first)
        refuse_more("fused_recurrent_kda", unknown)
    cast = in_one_dtype(q, k, v)
    o, state = chunk_kda(
        *(cast or (q, k, v)), g, beta, scale, initial_state, output_final_state,
        use_qk_l2norm_in_kernel, use_gate_in_kernel, use_beta_sigmoid_in_kernel,
        allow_neg_eigval, lower_bound=lower_bound, state_v_first=state_v_first,
        cu_seqlens=cu_seqlens, A_log=A_log, dt_bias=dt_bias,
    )  # fmt: skip
    return o if cast is None else o.to(v.dtype), state


def _checked_bound(lower_bound: float | None, *, safe: bool) -> float:
    """The lower bound of the log decay, which has to be a finite number below 0."""
    if isinstance(lower_bound, (int, float)) and not isinstance(lower_bound, bool):
        least = SAFE_BOUND if safe else -float_info.max
        if least <= lower_bound < 0:
            return float(lower_bound)
    limit = f"from {SAFE_BOUND:g} up to 0, without 0 (safe_gate=True)" if safe else "below 0"
    raise InvalidInput(
        f"lower_bound={shown(lower_bound)} with use_gate_in_kernel=True; give a finite number "
        f"{limit}, e.g. -5.0."
    )


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
