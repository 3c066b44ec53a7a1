"""The rule, token by token: what every kernel is measured against."""

from __future__ import annotations

import torch
from torch import Tensor

from gdn_ops.reference.rows import Rows


def recurrent_reference(  # noqa: PLR0913  (the arguments of the rule)
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None = None,
    beta: Tensor | None = None,
    *,
    delta: bool = True,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor]:
    """Run a Rule of the lattice (gate none, scalar or vector; delta on or off) token by token.

    With the state S [K, V], from S_0 = ``initial_state`` or zero::

        S <- exp(g_t) S                              rows of S by exp(g_td) for the vector gate
        S <- S + k_t (beta_t (v_t - S^T k_t))^T      delta on
        S <- S + k_t v_t^T                           delta off
        o_t = scale S^T q_t

    This is the gated delta rule, arXiv 2412.06464 eq. 10, with the state transposed. Without a
    gate it is DeltaNet (arXiv 2406.06484), with the vector gate Kimi Delta Attention (arXiv
    2510.26692); with delta off, Mamba-2's scalar decay (arXiv 2405.21060) and gated linear
    attention (arXiv 2312.06635). Differentiable, on any device; the state of every token stays in
    memory while a gradient is recorded.

    Args:
        q, k: [B, T, H, K].
        v: [B, T, HV, V], HV a multiple of H; value head i reads key head i // (HV / H).
        g: log decay, [B, T, HV], [B, T, HV, K], or None for no gate. -inf forgets everything.
        beta: [B, T, HV], 1 where not given; only with ``delta``.
        scale: factor of q, K^-0.5 where not given.
        initial_state: [N, HV, K, V].
        cu_seqlens: [N+1], packed sequences in one row (B = 1), where N is B otherwise.
        dtype: type to compute and answer in, q's own but at least float32 where not given.

    Returns:
        o [B, T, HV, V], zero at tokens of no sequence, and the final state [N, HV, K, V].

    Raises:
        InvalidInput: a shape is outside this contract.
    """
    rows = Rows.of(
        q, k, v, g, beta,
        delta=delta, scale=scale, initial_state=initial_state, cu_seqlens=cu_seqlens, dtype=dtype,
    )  # fmt: skip
    S = rows.state  # [R, K, V]
    decay = None if rows.g is None else rows.g.exp()[..., None]  # [R, T, 1 or K, 1]
    o = []
    for t in range(rows.q.shape[1]):
        q_t, k_t, u_t = (x[:, t, None] for x in (rows.q, rows.k, rows.v))  # [R, 1, K or V]
        if decay is not None:
            S = decay[:, t] * S
        if rows.beta is not None:
            u_t = rows.beta[:, t, None] * (u_t - k_t @ S)
        S = torch.baddbmm(S, k_t.mT, u_t)
        o.append(q_t @ S)
    return rows.outputs(torch.cat(o, dim=1) if o else rows.v), rows.states(S)
