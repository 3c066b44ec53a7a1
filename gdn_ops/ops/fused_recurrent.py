"""``fused_recurrent_gated_delta_rule``: also gates and writing strengths per channel."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gdn_ops.dispatch.mode import MODE
from gdn_ops.errors import InvalidInput, UnsupportedProblem
from gdn_ops.ops.by_reference import by_reference
from gdn_ops.ops.checks import Arguments, check_arguments, check_tensor
from gdn_ops.ops.dispatched import dispatched
from gdn_ops.ops.gated_delta_rule import NEG_EIGVAL_ALONE, chunk_gated_delta_rule
from gdn_ops.ops.keywords import refuse, renamed
from gdn_ops.ops.one_dtype import in_one_dtype
from gdn_ops.ops.prologue import activated_beta, l2norm, wide, without_padding
from gdn_ops.reference import log_decay


def fused_recurrent_gated_delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None = None,
    gk: Tensor | None = None,
    gv: Tensor | None = None,
    beta: Tensor | None = None,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = False,
    use_gate_in_kernel: bool = False,
    A_log: Tensor | None = None,
    dt_bias: Tensor | None = None,
    use_beta_sigmoid_in_kernel: bool = False,
    allow_neg_eigval: bool = False,
    state_v_first: bool = False,
    cu_seqlens: Tensor | None = None,
    **unknown: Any,
) -> tuple[Tensor, Tensor | None]:
    """The gated delta rule (arXiv 2412.06464, eq. 10), with the signature for decoding.

    The rule is that of ``chunk_gated_delta_rule``. This function is meant for decoding: T = 1
    with an initial and a final state. Any T is allowed; the dispatcher picks the fastest variant
    for the sizes.

    Args:
        q, k: [B, T, H, K], bf16, fp16, fp32 or fp64; K <= 256.
        v: [B, T, HV, V], HV a multiple of H, V <= 256. The dtypes of q, k and v may differ: the
            rule runs in the widest, and o has v's dtype.
        g: [B, T, HV] log decay (<= 0), or [B, T, HV, K] for one per key channel; None: no gate.
        gk: [B, T, HV, K] log decay per key channel, added to g; None: none.
        gv: [B, T, HV, V] log decay per value channel; None: none. No kernel supports it: the call
            runs in plain PyTorch in fp32.
        beta: [B, T, HV] writing strength, or [B, T, HV, V] for one per value channel (in plain
            PyTorch, as gv); None: ones.
        scale: factor on the outputs; None: K^-0.5.
        initial_state: [N, HV, K, V]; None: zeros.
        output_final_state: whether to return the final state.
        use_qk_l2norm_in_kernel: whether to divide q and k by sqrt(sum(x^2) + 1e-6) first.
        use_gate_in_kernel: whether g is raw; the log decay is then
            -exp(A_log) softplus(g + dt_bias).
        A_log: [HV], with ``use_gate_in_kernel``.
        dt_bias: [HV], or [HV, K] if g has one value per key channel, with ``use_gate_in_kernel``;
            or None.
        use_beta_sigmoid_in_kernel: whether beta is raw and needs the sigmoid.
        allow_neg_eigval: whether to double the sigmoid of beta.
        state_v_first: whether states are [N, HV, V, K].
        cu_seqlens: [N + 1] int32 or int64, offsets of sequences packed in one row (B = 1).

    Returns:
        o [B, T, HV, V] in v's dtype, and the final state [N, HV, K, V] or None; the state is in
        fp32, or in fp64 for fp64 inputs.

    Raises:
        InvalidInput: a tensor violates this contract; the message says how.
        UnsupportedProblem: no plan can run the call; the message lists every reason.
    """
    cast = in_one_dtype(q, k, v)
    if cast is not None:
        o, state = fused_recurrent_gated_delta_rule(
            *cast, g, gk, gv, beta, scale, initial_state, output_final_state,
            use_qk_l2norm_in_kernel, use_gate_in_kernel, A_log, dt_bias,
            use_beta_sigmoid_in_kernel, allow_neg_eigval, state_v_first, cu_seqlens, **unknown,
        )  # fmt: skip
        return o.to(v.dtype), state
    by_channel = isinstance(beta, Tensor) and beta.dim() == 4
    if gk is None and gv is None and not by_channel:
        return chunk_gated_delta_rule(
            q, k, v, g, beta, scale, initial_state, output_final_state, use_qk_l2norm_in_kernel,
            use_beta_sigmoid_in_kernel, allow_neg_eigval, state_v_first, cu_seqlens,
            use_gate_in_kernel=use_gate_in_kernel, A_log=A_log, dt_bias=dt_bias, **unknown,
        )  # fmt: skip
    state_v_first = renamed(unknown, state_v_first)
    refuse(unknown, unknown.pop("cp_context", None))
    if allow_neg_eigval and not use_beta_sigmoid_in_kernel:
        raise InvalidInput(NEG_EIGVAL_ALONE)
    check_arguments(
        Arguments(
            q, k, v, g, None if by_channel else beta, initial_state, output_final_state,
            use_gate_in_kernel, A_log, dt_bias, state_v_first, cu_seqlens,
        )
    )  # fmt: skip
    _check_channels(k, v, gk, gv, beta)
    if cu_seqlens is not None:
        q, k, v = (without_padding(x, cu_seqlens) for x in (q, k, v))
        g, gk, gv, beta = (
            None if x is None else without_padding(x, cu_seqlens) for x in (g, gk, gv, beta)
        )
    if use_gate_in_kernel and g is not None and A_log is not None:
        g = log_decay(wide(g), wide(A_log), None if dt_bias is None else wide(dt_bias))
    if g is not None and g.dim() == 4:
        g, gk = None, _joint_decay(g, gk)
    if gv is None and not by_channel:
        return dispatched(
            q, k, v, _joint_decay(g, gk), beta, scale, initial_state, output_final_state,
            state_v_first, cu_seqlens, None, None, use_qk_l2norm_in_kernel,
            use_beta_sigmoid_in_kernel, allow_neg_eigval, True,
        )  # fmt: skip
    # Dynamo cannot trace a ContextVar.
    if not torch.compiler.is_compiling() and MODE.get().asking:
        raise UnsupportedProblem(
            "a gate or writing strength with one value per value channel runs in plain PyTorch, "
            "which has no variants to choose from; give one per head or key channel."
        )
    if use_qk_l2norm_in_kernel:
        q, k = l2norm(q), l2norm(k)
    if beta is None or use_beta_sigmoid_in_kernel:
        beta = activated_beta(
            beta, v, sigmoid=use_beta_sigmoid_in_kernel, neg_eigval=allow_neg_eigval
        )
    if initial_state is not None and state_v_first:
        initial_state = initial_state.transpose(-1, -2)
    o, state = _run_by_value_channel(q, k, v, g, gk, gv, beta, scale, initial_state, cu_seqlens)
    if not output_final_state:
        return o, None
    return o, state.transpose(-1, -2).contiguous() if state_v_first else state


def _joint_decay(g: Tensor | None, gk: Tensor | None) -> Tensor | None:
    """Return the sum of two log decays, g [B, T, HV] or [B, T, HV, K] and gk [B, T, HV, K]."""
    if g is None or gk is None:
        return g if gk is None else gk
    return wide(gk) + (wide(g) if g.dim() == 4 else wide(g)[..., None])


def _run_by_value_channel(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor | None, gk: Tensor | None, gv: Tensor | None,
    beta: Tensor, scale: float | None, state: Tensor | None, cu_seqlens: Tensor | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Run the rule with each value channel as a separate value head.

    Value channels have nothing in common except q, k and gk.
    """
    HV, V = v.shape[2:]

    def spread(x: Tensor) -> Tensor:
        """[B, T, HV, ...] -> [B, T, HV V, ...], with the same value for all channels of a head."""
        return x.repeat_interleave(V, dim=2)

    decay = None if g is None else wide(spread(g))
    if gv is not None:
        decay = wide(gv.flatten(2)) if decay is None else decay + wide(gv.flatten(2))
    if gk is not None:
        decay = _joint_decay(decay, spread(gk))
    o, final = by_reference(
        q, k, v.flatten(2).unsqueeze(-1), decay,
        beta.flatten(2) if beta.dim() == 4 else spread(beta), delta=True, scale=scale,
        initial_state=None if state is None else state.mT.flatten(1, 2).unsqueeze(-1),
        output_final_state=True, cu_seqlens=cu_seqlens,
    )  # fmt: skip
    assert final is not None
    N, K = final.shape[0], final.shape[2]
    return o.view(v.shape), final.view(N, HV, V, K).mT


def _check_channels(
    k: Tensor, v: Tensor, gk: Tensor | None, gv: Tensor | None, beta: Tensor | None
) -> None:
    by_key = (*v.shape[:3], k.shape[-1])
    channels = [("gk", gk, by_key), ("gv", gv, tuple(v.shape))]
    if isinstance(beta, Tensor) and beta.dim() == 4:
        channels.append(("beta", beta, tuple(v.shape)))
    for name, x, shape in channels:
        if x is None:
            continue
        check_tensor(name, x)
        if x.device != v.device:
            raise InvalidInput(
                f"{name} is on {x.device} and v on {v.device}; move all to one device."
            )
        if tuple(x.shape) != shape:
            raise InvalidInput(f"{name} has shape {list(x.shape)}; it must be {list(shape)}.")
