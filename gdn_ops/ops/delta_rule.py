"""The delta rule without a gate (DeltaNet), and several of its steps per token (DeltaProduct)."""

from __future__ import annotations

from typing import Any

import torch

from gdn_ops.errors import InvalidInput
from gdn_ops.ops.checks import check_tensor
from gdn_ops.ops.gated_delta_rule import chunk_gated_delta_rule


def chunk_delta_rule(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    beta: torch.Tensor | None,
    scale: float | None = None,
    initial_state: torch.Tensor | None = None,
    output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = False,
    cu_seqlens: torch.Tensor | None = None,
    cu_seqlens_cpu: torch.Tensor | None = None,
    **more: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The delta rule without a gate (DeltaNet, arXiv 2406.06484).

    Per value head, with the state S [K, V]::

        S <- S + k_t (beta_t (v_t - S^T k_t))^T;  o_t = scale S^T q_t

    Args:
        q, k: [B, T, H, K], bf16, fp16, fp32 or fp64; K <= 256.
        v: [B, T, HV, V], in q's dtype; HV a multiple of H, V <= 256.
        beta: [B, T, HV] writing strength, any float dtype; None: ones.
        scale: factor on the outputs; None: K^-0.5.
        initial_state: [N, HV, K, V]; None: zeros.
        output_final_state: whether to return the final state.
        use_qk_l2norm_in_kernel: whether to divide q and k by sqrt(sum(x^2) + 1e-6) first.
        cu_seqlens: [N + 1] int32 or int64, offsets of sequences packed in one row (B = 1).
        cu_seqlens_cpu: the same numbers on the host, which avoids a copy from the GPU.
        more: other keyword arguments of ``chunk_gated_delta_rule``.

    Returns:
        o [B, T, HV, V] in q's dtype, and the final state [N, HV, K, V] or None; the state is in
        fp32, or in fp64 for fp64 inputs.

    Raises:
        InvalidInput: a tensor violates this contract; the message says how.
        UnsupportedProblem: no plan can run the call; the message lists every reason.
    """
    return chunk_gated_delta_rule(
        q, k, v, None, beta, scale, initial_state, output_final_state, use_qk_l2norm_in_kernel,
        cu_seqlens=cu_seqlens, cu_seqlens_cpu=cu_seqlens_cpu, **more,
    )  # fmt: skip


def chunk_gated_delta_product(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    g: torch.Tensor | None,
    beta: torch.Tensor,
    num_householder: int,
    scale: float | None = None,
    initial_state: torch.Tensor | None = None,
    output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = False,
    cu_seqlens: torch.Tensor | None = None,
    cu_seqlens_cpu: torch.Tensor | None = None,
    cp_context: object | None = None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Several steps of the gated delta rule per token (DeltaProduct, arXiv 2502.10297).

    Each token decays the state once, writes to it ``num_householder`` times and reads it after
    the last write. It runs as the gated delta rule on a sequence that is ``num_householder``
    times as long.

    Args:
        q: [B, T, H, K], bf16, fp16, fp32 or fp64.
        k: [B, T * num_householder, H, K]; the steps of a token are adjacent.
        v: [B, T * num_householder, HV, V], HV a multiple of H.
        g: [B, T, HV] log decay (<= 0), applied once per token; None: no gate.
        beta: [B, T * num_householder, HV] writing strength.
        num_householder: steps per token, >= 1.
        scale: factor on the outputs; None: K^-0.5.
        initial_state: [N, HV, K, V]; None: zeros.
        output_final_state: whether to return the final state.
        use_qk_l2norm_in_kernel: whether to divide q and k by sqrt(sum(x^2) + 1e-6) first.
        cu_seqlens: [N + 1] int32 or int64, offsets of packed sequences (B = 1), counted in tokens
            of q.
        cu_seqlens_cpu: the same numbers on the host, which avoids a copy from the GPU.
        cp_context: must be None; context parallelism is not supported.

    Returns:
        o [B, T, HV, V] in q's dtype, and the final state [N, HV, K, V] or None; the state is in
        fp32, or in fp64 for fp64 inputs.

    Raises:
        InvalidInput: ``num_householder`` is below 1, or a tensor violates this contract.
        UnsupportedProblem: no plan can run the call; the message lists every reason.
    """
    steps = num_householder
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise InvalidInput(f"num_householder={steps!r}; give an integer >= 1.")
    for name, x, rank in (("q", q, 4), ("k", k, 4), ("v", v, 4), ("g", g, 3), ("beta", beta, 3)):
        if x is not None or name != "g":
            check_tensor(name, x, rank)
    total = q.shape[1] * steps
    for name, x in (("k", k), ("v", v), ("beta", beta)):
        if x.shape[1] != total:
            raise InvalidInput(
                f"{name} has {x.shape[1]} steps; {q.shape[1]} tokens with num_householder={steps} "
                f"need {total}."
            )
    o, state = chunk_gated_delta_rule(
        _at_step(q, steps - 1, steps), k, v, None if g is None else _at_step(g, 0, steps), beta,
        scale, initial_state, output_final_state, use_qk_l2norm_in_kernel,
        cu_seqlens=None if cu_seqlens is None else cu_seqlens * steps,
        cu_seqlens_cpu=None if cu_seqlens_cpu is None else cu_seqlens_cpu * steps,
        cp_context=cp_context,
    )  # fmt: skip
    return o[:, steps - 1 :: steps], state


def _at_step(x: torch.Tensor, step: int, steps: int) -> torch.Tensor:
    """[B, T, ...] -> [B, T * steps, ...]: x at one step of each token, zeros at the others."""
    spread = x.new_zeros(x.shape[0], x.shape[1], steps, *x.shape[2:])
    spread[:, :, step] = x
    return spread.flatten(1, 2)
