"""Calls that no plan computes, such as float64, by the chunkwise form in plain PyTorch."""

from __future__ import annotations

import torch

from gdn_ops.launch.packing import packing_of
from gdn_ops.ops.checks import Arguments, check_arguments, checked_scale
from gdn_ops.ops.prologue import activated_beta, cleared, l2norm
from gdn_ops.ops.unreadable import refuse_unreadable
from gdn_ops.reference import chunkwise_reference, log_decay


def by_reference(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    g: torch.Tensor | None,
    beta: torch.Tensor | None,
    *,
    delta: bool,
    scale: float | None,
    initial_state: torch.Tensor | None,
    output_final_state: bool,
    state_v_first: bool = False,
    cu_seqlens: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Run any rule in fp32, or in fp64 for fp64 inputs; autograd computes its gradients.

    Args:
        q, k: [B, T, H, K].
        v: [B, T, HV, V], HV a multiple of H.
        g: [B, T, HV] or [B, T, HV, K] log decay; None: no gate.
        beta: [B, T, HV] writing strength; None without the delta rule.
        delta: whether the rule has the delta term.
        scale: factor on the outputs; None: K^-0.5.
        initial_state: [N, HV, K, V], or [N, HV, V, K] with ``state_v_first``; None: zeros.
        output_final_state: whether to return the final state.
        state_v_first: whether states are [N, HV, V, K].
        cu_seqlens: [N + 1] offsets of packed sequences; None for a batch.

    Returns:
        o [B, T, HV, V] in q's dtype, and the final state (fp32, or fp64 for fp64 inputs) or None.

    Raises:
        InvalidInput: a tensor violates this contract.
    """
    check_arguments(
        Arguments(
            q, k, v, g, beta, initial_state, output_final_state, False, None, None, state_v_first,
            cu_seqlens, delta,
        )
    )  # fmt: skip
    if cu_seqlens is not None:
        refuse_unreadable(cu_seqlens)
        end = packing_of(cu_seqlens, q.shape[1]).offsets[-1]
        q, k, v = (cleared(x, end) for x in (q, k, v))
        g, beta = (None if x is None else cleared(x, end) for x in (g, beta))
    if initial_state is not None and state_v_first:
        initial_state = initial_state.transpose(-1, -2)
    with torch.autocast(q.device.type, enabled=False):
        o, state = chunkwise_reference(
            q, k, v, g, beta,
            delta=delta, scale=None if scale is None else checked_scale(scale),
            initial_state=initial_state, cu_seqlens=cu_seqlens,
            dtype=torch.float64 if q.dtype == torch.float64 else torch.float32,
        )  # fmt: skip
    if not output_final_state:
        return o.to(q.dtype), None
    return o.to(q.dtype), state.transpose(-1, -2).contiguous() if state_v_first else state


def in_float64(
    a: Arguments,
    *,
    scale: float | None,
    cu_seqlens_cpu: torch.Tensor | None,
    l2: bool,
    sigmoid: bool,
    neg_eigval: bool,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Run a call whose q, k, v are float64; the final state is float64 too.

    Arguments and errors are those of ``dispatched``.
    """
    check_arguments(a)
    q, k, g, beta = a.q, a.k, a.g, a.beta
    if a.cu_seqlens is not None:
        refuse_unreadable(a.cu_seqlens)
        # Norms and activations are applied before ``by_reference``, which clears v.
        end = packing_of(a.cu_seqlens, q.shape[1], cu_seqlens_cpu).offsets[-1]
        q, k = cleared(q, end), cleared(k, end)
        g, beta = (None if x is None else cleared(x, end) for x in (g, beta))
    if l2:
        q, k = l2norm(q), l2norm(k)
    if a.gate_in_kernel and g is not None and a.A_log is not None:
        bias = None if a.dt_bias is None else a.dt_bias.double()
        g = log_decay(g.double(), a.A_log.double(), bias)
    if a.delta:
        beta = activated_beta(beta, a.v, sigmoid=sigmoid, neg_eigval=neg_eigval)
    return by_reference(
        q, k, a.v, g, beta,
        delta=a.delta, scale=scale, initial_state=a.initial_state,
        output_final_state=a.output_final_state, state_v_first=a.state_v_first,
        cu_seqlens=a.cu_seqlens,
    )  # fmt: skip
