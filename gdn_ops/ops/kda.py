"""Kimi Delta Attention: the gated delta rule with one decay per key channel."""

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
"""The lowest bound that flash-linear-attention accepts with ``safe_gate``."""


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
    """Kimi Delta Attention (KDA, arXiv 2510.26692): the delta rule with a vector gate.

    Per value head, with the state S [K, V] and the log decay g::

        S <- diag(exp(g_t)) S;  S <- S + k_t (beta_t (v_t - S^T k_t))^T;  o_t = scale S^T q_t

    Args:
        q, k: [B, T, H, K], bf16, fp16, fp32 or fp64.
        v: [B, T, HV, V], in q's dtype; HV a multiple of H.
        g: [B, T, HV, K] log decay (<= 0, checked on the CPU only), or the raw gate with
            ``use_gate_in_kernel``; any float dtype.
        beta: [B, T, HV] writing strength, any float dtype; None: ones.
        scale: factor on the outputs; None: K^-0.5.
        initial_state: [N, HV, K, V]; None: zeros.
        output_final_state: whether to return the final state.
        use_qk_l2norm_in_kernel: whether to divide q and k by sqrt(sum(x^2) + 1e-6) first.
        use_gate_in_kernel: whether g is raw; the log decay is then
            -exp(A_log) softplus(g + dt_bias).
        use_beta_sigmoid_in_kernel: whether beta is raw and needs the sigmoid.
        allow_neg_eigval: whether to double the sigmoid of beta.
        safe_gate: promises that no log decay is below -5. With ``use_gate_in_kernel`` it requires
            a ``lower_bound`` in [-5, 0); otherwise it is ignored.
        lower_bound: a number < 0. With ``use_gate_in_kernel`` the log decay is then
            lower_bound sigmoid(exp(A_log) (g + dt_bias)), or lower_bound sigmoid(g + dt_bias) if
            A_log is None. Ignored without ``use_gate_in_kernel``.
        disable_recompute: must be False; use ``gdn_ops.saving_for_backward("states")`` instead.
        return_intermediate_states: must be False; not supported.
        state_v_first: whether states are [N, HV, V, K].
        cu_seqlens: [N + 1] int32 or int64, offsets of sequences packed in one row (B = 1).
        cu_seqlens_cpu: the same numbers on the host, which avoids a copy from the GPU.
        cp_context: must be None; context parallelism is not supported.
        use_graph: must be False; not supported.
        max_num_seqs: accepted and ignored.
        A_log: [HV] or [1, 1, HV, 1], with ``use_gate_in_kernel``.
        dt_bias: [HV, K] or [HV * K], with ``use_gate_in_kernel``; or None.

    Returns:
        o [B, T, HV, V] in q's dtype, and the final state [N, HV, K, V] or None; the state is in
        fp32, or in fp64 for fp64 inputs.

    Raises:
        InvalidInput: a tensor violates this contract; the message says how.
        UnsupportedProblem: no plan can run the call, or an argument is not supported.
    """
    if (
        unknown
        or disable_recompute
        or return_intermediate_states
        or use_graph
        or cp_context is not None
    ):
        state_v_first = renamed(unknown, state_v_first)
        refuse_kda(
            unknown,
            disable_recompute=disable_recompute,
            return_intermediate_states=return_intermediate_states,
            use_graph=use_graph,
            cp_context=cp_context,
        )
    if allow_neg_eigval and not use_beta_sigmoid_in_kernel:
        raise InvalidInput(NEG_EIGVAL_ALONE)
    raw = raw_gate(A_log, dt_bias, k) if use_gate_in_kernel else None
    if use_gate_in_kernel and (safe_gate or lower_bound is not None):
        bound = checked_bound(lower_bound, safe=safe_gate)
        A_log, dt_bias = bounded_gate(A_log, dt_bias, k, v)
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
    """Kimi Delta Attention (KDA, arXiv 2510.26692), with the signature for decoding.

    The rule is that of ``chunk_kda``. This function is meant for decoding: T = 1 with an initial
    and a final state. Any T is allowed; the dispatcher picks the fastest variant for the sizes.

    Args:
        q, k: [B, T, H, K], bf16, fp16, fp32 or fp64.
        v: [B, T, HV, V], HV a multiple of H. The dtypes of q, k and v may differ: the rule runs in
            the widest, and o has v's dtype.
        g: [B, T, HV, K] log decay (<= 0), or the raw gate with ``use_gate_in_kernel``.
        beta: [B, T, HV] writing strength; None: ones.
        A_log: [HV] or [1, 1, HV, 1], with ``use_gate_in_kernel``.
        dt_bias: [HV, K] or [HV * K], with ``use_gate_in_kernel``; or None.
        scale: factor on the outputs; None: K^-0.5.
        initial_state: [N, HV, K, V]; None: zeros.
        output_final_state: whether to return the final state.
        use_qk_l2norm_in_kernel, use_gate_in_kernel, use_beta_sigmoid_in_kernel, allow_neg_eigval,
            lower_bound, state_v_first, cu_seqlens: as for ``chunk_kda``.

    Returns:
        o [B, T, HV, V] in v's dtype, and the final state [N, HV, K, V] or None; the state is in
        fp32, or in fp64 for fp64 inputs.

    Raises:
        InvalidInput: a tensor violates this contract; the message says how.
        UnsupportedProblem: no plan can run the call, or an argument is not supported.
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


def refuse_kda(
    unknown: dict[str, Any],
    *,
    disable_recompute: bool,
    return_intermediate_states: bool,
    use_graph: bool,
    cp_context: object | None,
) -> None:
    """Refuse what ``chunk_kda`` does not support.

    Args:
        unknown: keyword arguments that are not in the signature; a chunk size is removed.
        disable_recompute, return_intermediate_states, use_graph, cp_context: as given.

    Raises:
        InvalidInput: the chunk size is not one of the known ones.
        UnsupportedProblem: an argument is not supported.
    """
    if disable_recompute:
        raise UnsupportedProblem(
            "chunk_kda does not support disable_recompute=True; make the call inside "
            "gdn_ops.saving_for_backward('states')."
        )
    check_chunk_size(unknown.pop("chunk_size", None))
    given = {"return_intermediate_states": return_intermediate_states, "use_graph": use_graph}
    refuse_more("chunk_kda", unknown | given | {"cp_context": cp_context})


def bounded_gate(
    A_log: torch.Tensor | None, dt_bias: torch.Tensor | None, k: torch.Tensor, v: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return A_log [HV] and dt_bias of a gate with a lower bound; A_log is zeros if not given."""
    check_tensor("v", v, 4)
    flat, bias = raw_gate(A_log, dt_bias, k)
    return v.new_zeros(v.shape[2], dtype=torch.float32) if flat is None else flat, bias


def raw_gate(
    A_log: torch.Tensor | None, dt_bias: torch.Tensor | None, k: torch.Tensor
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Return A_log as [HV] and dt_bias as [HV, K], in whichever shapes they are given."""
    return _flat(A_log), _by_channel(dt_bias, k)


def checked_bound(lower_bound: float | None, *, safe: bool) -> float:
    """Return the lower bound of the log decay; it must be a finite number below 0."""
    if isinstance(lower_bound, (int, float)) and not isinstance(lower_bound, bool):
        minimum = SAFE_BOUND if safe else -float_info.max
        if minimum <= lower_bound < 0:
            return float(lower_bound)
    limit = f">= {SAFE_BOUND:g} and < 0 (safe_gate=True)" if safe else "< 0"
    raise InvalidInput(
        f"lower_bound={shown(lower_bound)} with use_gate_in_kernel=True; give a finite number "
        f"{limit}, e.g. -5.0."
    )


def _flat(A_log: torch.Tensor | None) -> torch.Tensor | None:
    """Return A_log as [HV]; some models store it as [1, 1, HV, 1]."""
    return A_log.flatten() if isinstance(A_log, torch.Tensor) else A_log


def _by_channel(dt_bias: torch.Tensor | None, k: torch.Tensor) -> torch.Tensor | None:
    """Return dt_bias as [HV, K]; models store it as [HV * K]."""
    flat = isinstance(dt_bias, torch.Tensor) and dt_bias.dim() == 1
    if dt_bias is None or not flat or not isinstance(k, torch.Tensor) or k.dim() != 4:
        return dt_bias
    K = k.shape[-1]
    return dt_bias if K == 0 or dt_bias.numel() % K else dt_bias.reshape(-1, K)
