"""``chunk_gated_delta_rule``, with flash-linear-attention's signature."""

from __future__ import annotations

from typing import Any

import torch

from gdn_ops.errors import InvalidInput
from gdn_ops.ops.dispatched import dispatched
from gdn_ops.ops.keywords import check_chunk_size, refuse, renamed

NEG_EIGVAL_ALONE = (
    "allow_neg_eigval=True doubles the sigmoid of beta, but use_beta_sigmoid_in_kernel is False; "
    "set it to True, or pass 2 * sigmoid(b) as beta."
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
    """The gated delta rule (arXiv 2412.06464, eq. 10) on whole sequences.

    Per value head, with the state S [K, V] and the log decay g:

        S <- exp(g_t) S;  S <- S + k_t (beta_t (v_t - S^T k_t))^T;  o_t = scale S^T q_t

    Value head i reads key head i // (HV / H). The call is differentiable with respect to q, k, v,
    g, beta, initial_state, A_log and dt_bias.

    Args:
        q, k: [B, T, H, K], bf16, fp16 or fp32; K <= 256. In float64 the call runs on
            ``gdn_ops.reference`` in plain PyTorch, whatever ``using`` says, and the final state
            is float64 too.
        v: [B, T, HV, V], in q's dtype; HV a multiple of H, V <= 256.
        g: [B, T, HV] log decay, or [B, T, HV, K] for one per key channel, any float dtype; None:
            no gate. It must be <= 0; this is checked on the CPU only, and on a GPU positive
            values give wrong results.
        beta: [B, T, HV] writing strength, any float dtype; None: ones.
        scale: factor on the outputs, a finite number; None: K^-0.5.
        initial_state: [N, HV, K, V]; None: zeros. N is B, or the number of packed sequences.
        output_final_state: whether to return the final state.
        use_qk_l2norm_in_kernel: whether to divide q and k by sqrt(sum(x^2) + 1e-6) first.
        use_beta_sigmoid_in_kernel: whether beta is raw and needs the sigmoid.
        allow_neg_eigval: whether to double the sigmoid of beta, so that eigenvalues of the
            transition may be negative (arXiv 2411.12537); needs ``use_beta_sigmoid_in_kernel``.
        state_v_first: whether the initial and final states are [N, HV, V, K].
        cu_seqlens: [N + 1] int32 or int64, offsets of sequences packed in one row (B = 1). The
            last one may be < T; the outputs after it are zero.
        cu_seqlens_cpu: the same numbers on the host, which avoids a copy from the GPU. They are
            compared with ``cu_seqlens`` on the CPU only; on a GPU wrong numbers give wrong
            results.
        chunk_indices: accepted and ignored.
        cp_context: must be None; context parallelism is not supported.
        use_gate_in_kernel: whether g is raw; the log decay is then
            -exp(A_log) softplus(g + dt_bias).
        A_log: [HV], with ``use_gate_in_kernel``.
        dt_bias: [HV], or [HV, K] if g has one value per key channel, with ``use_gate_in_kernel``;
            or None.
        chunk_size: 16, 32, 64 or 128; accepted and ignored, as the tuned variant decides.

    Returns:
        o [B, T, HV, V] in q's dtype, and the final state [N, HV, K, V] or None; the state is in
        fp32, or in fp64 for fp64 inputs.

    Raises:
        InvalidInput: a tensor violates this contract; the message says how.
        UnsupportedProblem: no plan can run the call; the message lists every reason.
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
