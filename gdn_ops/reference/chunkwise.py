"""The chunkwise form of the rule: matrix products within chunks, a recurrence between them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gdn_ops.reference.rows import Rows

SUB_BLOCK = 16


def chunkwise_reference(  # noqa: PLR0913  (the arguments of the rule)
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
    chunk_size: int = 64,
) -> tuple[Tensor, Tensor]:
    """Run a rule chunk by chunk; equal to ``recurrent_reference`` up to rounding.

    In a chunk that starts with the state S, let d_ij = exp(g_{j+1} + ... + g_i) for j <= i (per
    key channel for a vector gate), and let d_i be the same from the chunk's first token on::

        u_i = beta_i (v_i - (d_i k_i)^T S - sum_{j<i} (d_ij k_i . k_j) u_j)     delta on
        u_i = v_i                                                               delta off
        o_i = scale ((d_i q_i)^T S + sum_{j<=i} (d_ij q_i . k_j) u_j)
        S  <- d_C S + sum_j (d_Cj k_j) u_j^T

    The first line is a unit lower triangular system (I + tril(beta (K K^T d), -1)) u = rhs: the WY
    representation and UT transform of arXiv 2406.06484, section 3, with a gate as in arXiv
    2412.06464, section 3.3. The rest is the chunkwise form of gated linear attention (arXiv
    2312.06635, section 4).

    Each decay is the exponential of a sum of log decays, not of a difference of two cumulative
    sums (see Mamba-2's ``segsum``, arXiv 2405.21060). So it cannot overflow, loses no digits after
    a strong decay, and allows g = -inf.

    Arguments, results and errors are those of ``recurrent_reference``; ``chunk_size`` is the
    number of tokens per chunk.
    """
    rows = Rows.of(
        q, k, v, g, beta,
        delta=delta, scale=scale, initial_state=initial_state, cu_seqlens=cu_seqlens, dtype=dtype,
    )  # fmt: skip
    log_decay = torch.zeros_like(rows.v[..., :1]) if rows.g is None else rows.g
    S = rows.state  # [R, K, V]
    o = []
    for start in range(0, rows.q.shape[1], chunk_size):
        c = slice(start, start + chunk_size)
        beta_c = None if rows.beta is None else rows.beta[:, c]
        o_c, S = _chunk(rows.q[:, c], rows.k[:, c], rows.v[:, c], log_decay[:, c], beta_c, S)
        o.append(o_c)
    return rows.outputs(torch.cat(o, dim=1) if o else rows.v), rows.states(S)


def _chunk(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor | None, S: Tensor
) -> tuple[Tensor, Tensor]:
    """Run one chunk of C tokens from the state S [R, K, V].

    Returns:
        o [R, C, V] and the next state [R, K, V].
    """
    scores_q, scores_k = decayed_scores(torch.stack([q, k]), k, g)
    from_start = g.cumsum(1).exp()  # [R, C, 1 or K]
    u = v
    if beta is not None:
        rhs = beta * (v - (from_start * k) @ S)
        system = beta * scores_k  # the solver reads only below the diagonal
        u = torch.linalg.solve_triangular(system, rhs, upper=False, unitriangular=True)
    o = (from_start * q) @ S + scores_q.tril() @ u
    S = from_start[:, -1, :, None] * S + (_sum_after(g).exp() * k).mT @ u
    return o, S


def decayed_scores(rows: Tensor, k: Tensor, g: Tensor) -> Tensor:
    """Return sum_d rows_id k_jd exp(g_{j+1,d} + ... + g_id) for j <= i.

    Args:
        rows: [X, R, C, K], the left factors.
        k: [R, C, K].
        g: [R, C, 1], or [R, C, K] for the vector gate.

    Returns:
        [X, R, C, C]; entries with j > i are meaningless.
    """
    if g.shape[-1] == 1:
        return rows @ k.mT * _pairwise_sum(g)[..., 0].exp()
    C = k.shape[1]
    blocks = []
    for start in range(0, C, SUB_BLOCK):
        # For tokens of different sub-blocks the decay is a product of two factors <= 1, before and
        # after the block's first token, so the sum over d is a matrix product. Within a sub-block
        # it is computed for each pair of tokens (arXiv 2312.06635, section 4.3).
        end = min(start + SUB_BLOCK, C)
        rows_b, k_b, g_b = rows[:, :, start:end], k[:, start:end], g[:, start:end]
        before = (g_b.cumsum(1).exp() * rows_b) @ (_sum_after(g[:, :start]).exp() * k[:, :start]).mT
        pairs = _pairwise_sum(g_b).exp() * k_b[:, None]  # [R, i, j, K]
        inside = torch.einsum("xrik,rijk->xrij", rows_b, pairs)
        blocks.append(F.pad(torch.cat([before, inside], dim=-1), (0, C - end)))
    return torch.cat(blocks, dim=-2)


def _sum_after(g: Tensor) -> Tensor:
    """[R, C, D] -> [R, C, D], the sum of g over all later tokens."""
    return F.pad(g[:, 1:], (0, 0, 0, 1))[:, : g.shape[1]].flip(1).cumsum(1).flip(1)


def _pairwise_sum(g: Tensor) -> Tensor:
    """[R, C, D] -> [R, C, C, D], g_{j+1} + ... + g_i at (i, j), zero for j >= i."""
    C = g.shape[1]
    below = torch.ones(C, C, dtype=torch.bool, device=g.device).tril(-1)[..., None]
    return torch.where(below, g[:, :, None], g.new_zeros(())).cumsum(1)
