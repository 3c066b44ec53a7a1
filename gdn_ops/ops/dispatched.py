"""Running a call of a rule on the variant that the dispatcher chooses."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import torch
from torch.autograd import forward_ad

from gdn_ops.dispatch.bindings import BOUND, bind_signature
from gdn_ops.dispatch.mode import MODE, traced_mode
from gdn_ops.dispatch.posed import Answer, Posed
from gdn_ops.errors import InvalidInput
from gdn_ops.launch.call import Call
from gdn_ops.launch.packing import packing_of
from gdn_ops.ops.by_reference import in_float64
from gdn_ops.ops.checks import Arguments, check_arguments, checked_scale, problem_of
from gdn_ops.ops.prologue import activated_beta, cleared, l2norm, without_padding
from gdn_ops.ops.transformed import Transformed
from gdn_ops.ops.unreadable import is_fake, refuse_tangents, refuse_transforms, transforming
from gdn_ops.record import RECORDERS, record

RawGate = tuple[torch.Tensor | None, torch.Tensor | None]
"""A_log and dt_bias of a raw gate."""


def dispatched(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    g: torch.Tensor | None,
    beta: torch.Tensor | None,
    scale: float | None,
    initial_state: torch.Tensor | None,
    output_final_state: bool,
    state_v_first: bool,
    cu_seqlens: torch.Tensor | None,
    cu_seqlens_cpu: torch.Tensor | None,
    raw: RawGate | None,
    l2: bool,
    sigmoid: bool,
    neg_eigval: bool,
    delta: bool,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Run a call eagerly, or as one operator inside torch.compile and similar.

    Args:
        raw: A_log and dt_bias if g is the raw gate, else None.
        l2: whether to normalise q and k to length one.
        sigmoid: whether beta is raw and needs the sigmoid.
        neg_eigval: whether to double the sigmoid.
        delta: whether the rule has the delta term; beta is None without.

    Other arguments, results and errors are those of ``chunk_gated_delta_rule``.
    """
    if torch.compiler.is_compiling():
        refuse_transforms()
        return _traced(
            q, k, v, g, beta, scale, initial_state, output_final_state,
            l2=l2, sigmoid=sigmoid, neg_eigval=neg_eigval, state_v_first=state_v_first,
            cu_seqlens=cu_seqlens, cu_seqlens_cpu=cu_seqlens_cpu, raw=raw, delta=delta,
        )  # fmt: skip
    A_log, dt_bias = raw or (None, None)
    if forward_ad._current_level >= 0:
        refuse_tangents(q, k, v, g, beta, initial_state, A_log, dt_bias)
    grad = torch.is_grad_enabled() and _any_grad(q, k, v, g, beta, initial_state, A_log, dt_bias)
    optional: Hashable = None
    launcher = signature = None
    # A signature that was seen before needs no checks. This is the warm path: every attribute read
    # here costs time in every call.
    try:
        if initial_state is not None or cu_seqlens is not None or raw is not None:
            gate = (_facts(A_log), _facts(dt_bias)) if raw is not None else None
            optional = (_facts(initial_state), state_v_first, _facts(cu_seqlens), gate)
        signature = (
            q.shape, k.shape, v.shape, q.dtype, k.dtype, v.dtype, q.device, k.device, v.device,
            q.layout, k.layout, v.layout,
            None if g is None else (g.shape, g.dtype, g.device, g.layout),
            None if beta is None else (beta.shape, beta.dtype, beta.device, beta.layout),
            output_final_state, grad, delta, optional, MODE.get(),
            type(q), transforming(),
        )  # fmt: skip
        launcher = BOUND.get(signature)
    except (AttributeError, RuntimeError):
        signature = None  # an argument is not a dense tensor: the checks below report which one
    if launcher is None:
        arguments = Arguments(
            q, k, v, g, beta, initial_state, output_final_state, raw is not None, A_log, dt_bias,
            state_v_first, cu_seqlens, delta,
        )  # fmt: skip
        if MODE.get().asking:
            raise Answer(Posed(problem_of(arguments), q.device, grad))
        if isinstance(q, torch.Tensor) and q.dtype == torch.float64:
            return in_float64(
                arguments, scale=scale, cu_seqlens_cpu=cu_seqlens_cpu, l2=l2, sigmoid=sigmoid,
                neg_eigval=neg_eigval,
            )  # fmt: skip
        if isinstance(q, torch.Tensor) and (transforming() or is_fake(q)):
            check_arguments(arguments)
            return _traced(
                q, k, v, g, beta, None if scale is None else checked_scale(scale), initial_state,
                output_final_state, l2=l2, sigmoid=sigmoid, neg_eigval=neg_eigval,
                state_v_first=state_v_first, cu_seqlens=cu_seqlens, cu_seqlens_cpu=cu_seqlens_cpu,
                raw=raw, delta=delta,
            )  # fmt: skip
        launcher = bind_signature(signature, problem_of(arguments), q.device, grad=grad)
    if RECORDERS:
        record(launcher.problem)
    packing = None
    if cu_seqlens is not None:
        packing = packing_of(cu_seqlens, q.shape[1], cu_seqlens_cpu)
    end = q.shape[1] if packing is None else packing.offsets[-1]
    if l2:
        q, k = l2norm(cleared(q, end)), l2norm(cleared(k, end))
    if delta and (beta is None or sigmoid):
        beta = None if beta is None else cleared(beta, end)
        beta = activated_beta(beta, v, sigmoid=sigmoid, neg_eigval=neg_eigval)
    h0 = initial_state
    if h0 is not None:
        h0 = (h0.transpose(-1, -2) if state_v_first else h0).float()
    scale = launcher.scale if scale is None else checked_scale(scale)
    o, ht = launcher(Call(q, k, v, g, beta, scale, A_log, dt_bias, h0, packing))
    if state_v_first and ht is not None:
        ht = ht.transpose(-1, -2).contiguous()
    return o, ht


def _traced(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    g: torch.Tensor | None,
    beta: torch.Tensor | None,
    scale: float | None,
    h0: torch.Tensor | None,
    final_state: bool,
    *,
    l2: bool,
    sigmoid: bool,
    neg_eigval: bool,
    state_v_first: bool,
    cu_seqlens: torch.Tensor | None,
    cu_seqlens_cpu: torch.Tensor | None,
    raw: RawGate | None,
    delta: bool,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Run a call whose values cannot be read now, as one operator that checks when it runs.

    That is a call inside torch.compile or torch.export, one with fake tensors, and one inside a
    transform of torch.func.
    """
    A_log, dt_bias = raw or (None, None)
    if q.dtype == torch.float64:
        arguments = Arguments(
            q, k, v, g, beta, h0, final_state, raw is not None, A_log, dt_bias, state_v_first,
            cu_seqlens, delta,
        )  # fmt: skip
        return in_float64(
            arguments, scale=scale, cu_seqlens_cpu=cu_seqlens_cpu, l2=l2, sigmoid=sigmoid,
            neg_eigval=neg_eigval,
        )  # fmt: skip
    if l2:
        q, k = (l2norm(without_padding(x, cu_seqlens)) for x in (q, k))
    if delta and (beta is None or sigmoid):
        beta = None if beta is None else without_padding(beta, cu_seqlens)
        beta = activated_beta(beta, v, sigmoid=sigmoid, neg_eigval=neg_eigval)
    if h0 is not None:
        h0 = (h0.transpose(-1, -2) if state_v_first else h0).float()
    if raw is not None and (g is None or raw[0] is None):
        raise InvalidInput(
            "use_gate_in_kernel=True needs the raw gate as g and its A_log [HV]; give both."
        )
    recorded = torch.is_grad_enabled() and _any_grad(q, k, v, g, beta, h0, A_log, dt_bias)
    rule: Any = Transformed.apply if transforming() else torch.ops.gdn_ops.rule
    o, ht, _ = rule(
        q, k, v, g, beta, A_log, dt_bias, h0, cu_seqlens, cu_seqlens_cpu,
        q.shape[-1] ** -0.5 if scale is None else scale, final_state, delta, recorded,
        *traced_mode(),
    )  # fmt: skip
    if not final_state:
        return o, None
    return o, ht.transpose(-1, -2).contiguous() if state_v_first else ht


def _any_grad(*tensors: torch.Tensor | None) -> bool:
    return any(isinstance(x, torch.Tensor) and x.requires_grad for x in tensors)


def _facts(x: torch.Tensor | None) -> Hashable:
    return None if x is None else (x.shape, x.dtype, x.device, x.layout)
