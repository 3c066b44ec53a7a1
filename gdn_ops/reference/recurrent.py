"""The rule token by token: the reference that every kernel is checked against."""

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
    """Run a rule token by token, with no, a scalar or a vector gate, and with or without delta.

    Per value head, with the state S [K, V] starting from ``initial_state`` or zero::

        S <- exp(g_t) S                              vector gate: row d of S by exp(g_td)
        S <- S + k_t (beta_t (v_t - S^T k_t))^T      delta on
        S <- S + k_t v_t^T                           delta off
        o_t = scale S^T q_t

    This is the gated delta rule (arXiv 2412.06464, eq. 10) with the state transposed. Without a
    gate it is DeltaNet (arXiv 2406.06484), with a vector gate Kimi Delta Attention (arXiv
    2510.26692). With delta off it is the rule of Mamba-2 (scalar gate, arXiv 2405.21060) and gated
    linear attention (vector gate, arXiv 2312.06635). It is differentiable and runs on any device;
    while gradients are recorded, the states of all tokens stay in memory.

    Args:
        q, k: [B, T, H, K].
        v: [B, T, HV, V], HV a multiple of H; value head i reads key head i // (HV / H).
        g: [B, T, HV] log decay, or [B, T, HV, K] for one per key channel; None: no gate. -inf
            clears the state.
        beta: [B, T, HV] writing strength; None: ones. Only with ``delta``.
        delta: whether the rule has the delta term.
        scale: factor of q; None: K^-0.5.
        initial_state: [N, HV, K, V]; None: zeros.
        cu_seqlens: [N + 1], offsets of sequences packed in one row (B = 1); without it N is B.
        dtype: the dtype of the computation and of the results; default: that of q, but at least
            float32.

    Returns:
        o [B, T, HV, V], zero at tokens that belong to no sequence, and the final state
        [N, HV, K, V].

    Raises:
        InvalidInput: a shape violates this contract.
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
