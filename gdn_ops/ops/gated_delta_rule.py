"""The gated delta rule as a user calls it, with flash-linear-attention's signatures."""

from __future__ import annotations

import warnings
from collections.abc import Hashable
from contextlib import suppress
from typing import Any

import torch

from gdn_ops.call import Call
from gdn_ops.errors import InvalidInput, UnsupportedProblem
from gdn_ops.mode import MODE
from gdn_ops.ops.bound import BOUND, bind_signature
from gdn_ops.ops.checks import Arguments, check_decay, checked_scale, problem_of
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
        g: [B, T, HV] log decay, any float dtype; None: no gate (DeltaNet). It must be 0 at most,
            which is checked on the CPU only: on a GPU a positive one gives wrong results.
        beta: [B, T, HV], any float dtype; None: ones.
        scale: factor on the outputs, a finite number; None: K^-0.5.
        initial_state: [N, HV, K, V]; None: zeros.
        output_final_state: return the final state too.
        use_qk_l2norm_in_kernel: divide q and k by sqrt(sum(x^2) + 1e-6) first.
        use_beta_sigmoid_in_kernel: beta is raw, apply the sigmoid; with ``allow_neg_eigval``
            twice the sigmoid.
        state_v_first: states are [N, HV, V, K].
        cu_seqlens: [N + 1] int32 or int64, sequences packed in one row (B = 1).
        cu_seqlens_cpu: the same on the host, which saves a read-back from the device; there it is
            not compared with ``cu_seqlens``, and wrong results follow if it differs.
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
        state_v_first = _renamed(unknown, state_v_first)
        _refuse(unknown, cp_context)
    if chunk_size is not None and chunk_size not in CHUNK_SIZES:
        raise InvalidInput(f"chunk_size={chunk_size} is none of {CHUNK_SIZES}; leave it out.")
    if allow_neg_eigval and not use_beta_sigmoid_in_kernel:
        raise InvalidInput(
            "allow_neg_eigval=True doubles the sigmoid and use_beta_sigmoid_in_kernel is False; "
            "set it, or pass 2 * sigmoid(b) as beta."
        )
    if torch.compiler.is_compiling():
        return _traced(
            q, k, v, g, beta, scale, initial_state, output_final_state,
            l2=use_qk_l2norm_in_kernel, sigmoid=use_beta_sigmoid_in_kernel,
            neg_eigval=allow_neg_eigval, state_v_first=state_v_first, cu_seqlens=cu_seqlens,
            cu_seqlens_cpu=cu_seqlens_cpu, gate=(A_log, dt_bias) if use_gate_in_kernel else None,
        )  # fmt: skip
    grad = torch.is_grad_enabled() and _any_grad(q, k, v, g, beta, initial_state, A_log, dt_bias)
    rare: Hashable = None
    launcher = signature = None
    # what was seen before was checked then; each attribute read here is the warm path's cost
    with suppress(AttributeError):
        if initial_state is not None or cu_seqlens is not None or use_gate_in_kernel:
            gate = (_facts(A_log), _facts(dt_bias)) if use_gate_in_kernel else None
            rare = (_facts(initial_state), state_v_first, _facts(cu_seqlens), gate)
        signature = (
            q.shape, k.shape, v.shape, q.dtype, k.dtype, v.dtype, q.device, k.device, v.device,
            None if g is None else (g.shape, g.dtype, g.device),
            None if beta is None else (beta.shape, beta.dtype, beta.device),
            output_final_state, grad, rare, MODE.get(),
        )  # fmt: skip
        launcher = BOUND.get(signature)
    if launcher is None:
        arguments = Arguments(
            q, k, v, g, beta, initial_state, output_final_state, use_gate_in_kernel, A_log,
            dt_bias, state_v_first, cu_seqlens,
        )  # fmt: skip
        launcher = bind_signature(signature, problem_of(arguments), q.device, grad=grad)
    packing = None
    if cu_seqlens is not None:
        packing = packing_of(cu_seqlens, q.shape[1], cu_seqlens_cpu)
    if g is not None and not use_gate_in_kernel and q.shape[1] > 1 and q.device.type == "cpu":
        # a single token is right with any g, and a decode step is short of microseconds
        check_decay(g, q.shape[1] if packing is None else packing.offsets[-1])
    if use_qk_l2norm_in_kernel:
        q, k = l2norm(q), l2norm(k)
    if beta is None or use_beta_sigmoid_in_kernel:
        beta = activated_beta(
            beta, v, sigmoid=use_beta_sigmoid_in_kernel, neg_eigval=allow_neg_eigval
        )
    h0 = initial_state
    if h0 is not None:
        h0 = (h0.transpose(-1, -2) if state_v_first else h0).float()
    scale = launcher.scale if scale is None else checked_scale(scale)
    if not use_gate_in_kernel:
        A_log = dt_bias = None
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
    gate: tuple[torch.Tensor | None, torch.Tensor | None] | None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """A call inside torch.compile or torch.export: one operator, which checks when it runs."""
    if l2:
        q, k = l2norm(q), l2norm(k)
    if beta is None or sigmoid:
        beta = activated_beta(beta, v, sigmoid=sigmoid, neg_eigval=neg_eigval)
    if h0 is not None:
        h0 = (h0.transpose(-1, -2) if state_v_first else h0).float()
    if gate is not None and (g is None or gate[0] is None):
        raise InvalidInput(
            "use_gate_in_kernel=True needs the raw gate as g and its A_log [HV]; give both."
        )
    A_log, dt_bias = gate or (None, None)
    o, ht = torch.ops.gdn_ops.rule(
        q, k, v, g, beta, A_log, dt_bias, h0, cu_seqlens, cu_seqlens_cpu,
        q.shape[-1] ** -0.5 if scale is None else scale, final_state,
    )  # fmt: skip
    if not final_state:
        return o, None
    return o, ht.transpose(-1, -2).contiguous() if state_v_first else ht


def _any_grad(*tensors: torch.Tensor | None) -> bool:
    return any(isinstance(x, torch.Tensor) and x.requires_grad for x in tensors)


def _facts(x: torch.Tensor | None) -> Hashable:
    return None if x is None else (x.shape, x.dtype, x.device)


def _renamed(unknown: dict[str, Any], state_v_first: bool) -> bool:
    """``state_v_first``, or its value under the name it had before."""
    if "transpose_state_layout" not in unknown:
        return state_v_first
    warnings.warn(
        "transpose_state_layout is now state_v_first; pass that.", DeprecationWarning, stacklevel=3
    )
    return bool(unknown.pop("transpose_state_layout"))


def _refuse(unknown: dict[str, Any], cp_context: object | None) -> None:
    if cp_context is not None:
        raise UnsupportedProblem(
            "cp_context is given and context parallelism over several GPUs is not built; "
            "leave it out."
        )
    if "head_first" in unknown:
        raise InvalidInput("head_first is gone from the contract; give [B, T, heads, head dim].")
    if unknown:
        raise TypeError(f"unexpected keyword arguments: {', '.join(sorted(unknown))}")
