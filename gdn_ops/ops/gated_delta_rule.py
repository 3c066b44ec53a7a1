"""The gated delta rule as a user calls it, with flash-linear-attention's signatures."""

from __future__ import annotations

from collections.abc import Hashable
from contextlib import suppress
from typing import Any

import torch

from gdn_ops.call import Call
from gdn_ops.dispatch import FORCED
from gdn_ops.errors import InvalidInput, UnsupportedProblem
from gdn_ops.ops.bound import BOUND, bind_signature
from gdn_ops.ops.checks import Arguments, problem_of
from gdn_ops.ops.prologue import activated_beta, l2norm
from gdn_ops.packing import packing_of

CHUNK_SIZES = (16, 32, 64, 128)


def chunk_gated_delta_rule(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    g: torch.Tensor | None,
    beta: torch.Tensor | None,
    scale: float | None = None,
    initial_state: torch.Tensor | None = None,
    output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = False,
    use_beta_sigmoid_in_kernel: bool = False,
    allow_neg_eigval: bool = False,
    state_v_first: bool = False,
    cu_seqlens: torch.Tensor | None = None,
    cu_seqlens_cpu: torch.Tensor | None = None,
    chunk_indices: torch.Tensor | None = None,
    cp_context: object | None = None,
    *,
    use_gate_in_kernel: bool = False,
    A_log: torch.Tensor | None = None,
    dt_bias: torch.Tensor | None = None,
    chunk_size: int | None = None,
    **unknown: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The gated delta rule over whole sequences (arXiv 2412.06464, eq. 10).

    Per value head, with the state S [K, V] and the log decay g::

        S <- exp(g_t) S;  S <- S + k_t (beta_t (v_t - S^T k_t))^T;  o_t = scale S^T q_t

    Args:
        q, k: [B, T, H, K], bf16, fp16 or fp32; K at most 256.
        v: [B, T, HV, V], of q's dtype; HV a multiple of H, V at most 256.
        g: [B, T, HV] log decay (<= 0), any float dtype; None: no gate (DeltaNet).
        beta: [B, T, HV], any float dtype; None: ones.
        scale: factor on the outputs; None: K^-0.5.
        initial_state: [N, HV, K, V]; None: zeros.
        output_final_state: return the final state too.
        use_qk_l2norm_in_kernel: divide q and k by sqrt(sum(x^2) + 1e-6) first.
        use_beta_sigmoid_in_kernel: beta is raw, apply the sigmoid; with ``allow_neg_eigval``
            twice the sigmoid.
        state_v_first: states are [N, HV, V, K].
        cu_seqlens: [N + 1] int32 or int64, sequences packed in one row (B = 1).
        cu_seqlens_cpu: the same on the host, which saves a read-back from the device.
        chunk_indices: accepted and not needed.
        use_gate_in_kernel: g is raw, the log decay is -exp(A_log) softplus(g + dt_bias).
        A_log, dt_bias: [HV], with ``use_gate_in_kernel``; ``dt_bias`` may be None.
        chunk_size: accepted for the contract's sake (16, 32, 64 or 128); the tuned variant
            decides.

    Returns:
        o [B, T, HV, V] in q's dtype, and the final state [N, HV, K, V] fp32 or None.

    Raises:
        InvalidInput: a tensor is outside the contract; names value, limit and remedy.
        UnsupportedProblem: no plan can run the call; lists every reason.
    """
    if unknown or cp_context is not None:
        _refuse(unknown, cp_context)
    if chunk_size is not None and chunk_size not in CHUNK_SIZES:
        raise InvalidInput(f"chunk_size={chunk_size} is none of {CHUNK_SIZES}; leave it out.")
    if allow_neg_eigval and not use_beta_sigmoid_in_kernel:
        raise InvalidInput(
            "allow_neg_eigval=True doubles the sigmoid and use_beta_sigmoid_in_kernel is False; "
            "set it, or pass 2 * sigmoid(b) as beta."
        )
    grad = torch.is_grad_enabled() and _any_grad(q, k, v, g, beta, initial_state, A_log, dt_bias)
    rare: Hashable = None
    if initial_state is not None or cu_seqlens is not None or use_gate_in_kernel:
        gate = (_facts(A_log), _facts(dt_bias)) if use_gate_in_kernel else None
        rare = (_facts(initial_state), state_v_first, _facts(cu_seqlens), gate)
    launcher = signature = None
    # what was seen before was checked then; each attribute read here is the warm path's cost
    with suppress(AttributeError):
        signature = (
            q.shape, k.shape, v.shape, q.dtype, k.dtype, v.dtype, q.device, k.device, v.device,
            None if g is None else (g.shape, g.dtype, g.device),
            None if beta is None else (beta.shape, beta.dtype, beta.device),
            output_final_state, grad, rare, FORCED.get(),
        )  # fmt: skip
        launcher = BOUND.get(signature)
    if launcher is None:
        arguments = Arguments(
            q, k, v, g, beta, initial_state, output_final_state, use_gate_in_kernel, A_log,
            dt_bias, state_v_first, cu_seqlens, grad,
        )  # fmt: skip
        launcher = bind_signature(signature, problem_of(arguments), q.device)
    packing = None
    if cu_seqlens is not None:
        packing = packing_of(cu_seqlens, q.shape[1], cu_seqlens_cpu)
    if use_qk_l2norm_in_kernel:
        q, k = l2norm(q), l2norm(k)
    if beta is None or use_beta_sigmoid_in_kernel:
        beta = activated_beta(
            beta, v, sigmoid=use_beta_sigmoid_in_kernel, neg_eigval=allow_neg_eigval
        )
    h0 = initial_state
    if h0 is not None:
        h0 = (h0.transpose(-1, -2) if state_v_first else h0).float()
    if scale is None:
        scale = launcher.scale
    if not use_gate_in_kernel:
        A_log = dt_bias = None
    o, ht = launcher(Call(q, k, v, g, beta, scale, A_log, dt_bias, h0, packing))
    if state_v_first and ht is not None:
        ht = ht.transpose(-1, -2).contiguous()
    return o, ht


def fused_recurrent_gated_delta_rule(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    g: torch.Tensor | None = None,
    gk: torch.Tensor | None = None,
    gv: torch.Tensor | None = None,
    beta: torch.Tensor | None = None,
    scale: float | None = None,
    initial_state: torch.Tensor | None = None,
    output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = False,
    use_gate_in_kernel: bool = False,
    A_log: torch.Tensor | None = None,
    dt_bias: torch.Tensor | None = None,
    use_beta_sigmoid_in_kernel: bool = False,
    allow_neg_eigval: bool = False,
    state_v_first: bool = False,
    cu_seqlens: torch.Tensor | None = None,
    **unknown: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The gated delta rule as ``chunk_gated_delta_rule``, with the recurrent function's signature.

    Meant for decoding, T = 1 with both states; any T is right, and the dispatcher runs whatever
    variant is fastest for the sizes. Arguments and results are those of ``chunk_gated_delta_rule``.

    Raises:
        UnsupportedProblem: ``gk`` or ``gv`` is given (vector gates), or beta has one value a
            channel.
    """
    for name, gate in (("gk", gk), ("gv", gv)):
        if gate is not None:
            raise UnsupportedProblem(
                f"{name} {list(gate.shape)} is a vector gate, which no plan has yet; "
                "gdn_ops.reference.recurrent computes the vector gate over K."
            )
    if beta is not None and beta.dim() == 4:
        raise UnsupportedProblem(
            f"beta {list(beta.shape)} has one value a channel; give one a head, [B, T, HV]."
        )
    return chunk_gated_delta_rule(
        q, k, v, g, beta, scale, initial_state, output_final_state, use_qk_l2norm_in_kernel,
        use_beta_sigmoid_in_kernel, allow_neg_eigval, state_v_first, cu_seqlens,
        use_gate_in_kernel=use_gate_in_kernel, A_log=A_log, dt_bias=dt_bias, **unknown,
    )  # fmt: skip


def _any_grad(*tensors: torch.Tensor | None) -> bool:
    return any(isinstance(x, torch.Tensor) and x.requires_grad for x in tensors)


def _facts(x: torch.Tensor | None) -> Hashable:
    return None if x is None else (x.shape, x.dtype, x.device)


def _refuse(unknown: dict[str, Any], cp_context: object | None) -> None:
    if cp_context is not None:
        raise UnsupportedProblem(
            "cp_context is given and context parallelism over several GPUs is not built; "
            "leave it out."
        )
    if "head_first" in unknown:
        raise InvalidInput("head_first is gone from the contract; give [B, T, heads, head dim].")
    if "transpose_state_layout" in unknown:
        raise InvalidInput("transpose_state_layout is now state_v_first; pass that.")
    raise TypeError(f"unexpected keyword arguments: {', '.join(sorted(unknown))}")
