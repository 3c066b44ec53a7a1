"""The gated delta rule as a user calls it, with flash-linear-attention's signatures."""

from __future__ import annotations

from typing import Any

import torch

from gdn_ops.errors import InvalidInput
from gdn_ops.ops.dispatched import dispatched
from gdn_ops.ops.keywords import check_chunk_size, refuse, renamed

NEG_EIGVAL_ALONE = (
    "allow_neg_eigval=True doubles the sigmoid and use_beta_sigmoid_in_kernel is False; "
    "set it, or pass 2 * sigmoid(b) as beta."
)


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

    Per value head, with the state S [K, V] and the log decay g:

        S <- exp(g_t) S;  S <- S + k_t (beta_t (v_t - S^T k_t))^T;  o_t = scale S^T q_t

    Args:
        q, k: [B, T, H, K], bf16, fp16 or fp32; K at most 256. Or float64, which no plan computes
            in: it takes the chunkwise form of ``gdn_ops.reference``, slow and exact, whatever
            ``using`` says, and the final state is float64 too.
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
        state_v_first = renamed(unknown, state_v_first)
        refuse(unknown, cp_context)
    if chunk_size is not None:
        check_chunk_size(chunk_size)
    if allow_neg_eigval and not use_beta_sigmoid_in_kernel:
        raise InvalidInput(NEG_EIGVAL_ALONE)
    return dispatched(
        q, k, v, g, beta, scale, initial_state, output_final_state, state_v_first, cu_seqlens,
        cu_seqlens_cpu, (A_log, dt_bias) if use_gate_in_kernel else None, use_qk_l2norm_in_kernel,
        use_beta_sigmoid_in_kernel, allow_neg_eigval, True,
    )  # fmt: skip
