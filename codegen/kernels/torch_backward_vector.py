"""Stage torch_backward_vector: torch_backward with a gate per key channel."""

from __future__ import annotations

from dataclasses import replace

from gdn_ops.codegen.kernels import torch_backward
from gdn_ops.codegen.kernels.torch_chunk import SPEC as CHUNK

SPEC = replace(
    torch_backward.SPEC,
    name="torch_backward_vector",
    template="torch/torch_backward_vector",
    axes=CHUNK.axes,
    equation={
        "delta": """
    in a chunk whose tokens i decay channel c of the state S before it by d_ic, and of what token j
    wrote by d_ijc:
    L_ij = sum_c k_ic d_ijc k_jc,  P_ij = sum_c q_ic d_ijc k_jc
    A = (I + tril(L, -1) diag(beta))^-1
    delta = A (V - (d . K) S), so that token j writes k_j u_j^T with u_j = beta_j delta_j
    from the last chunk to the first, with dS the gradient of the state behind the chunk:
    dr = scale dO,  M = tril(dr U^T)
    dV = A^T diag(beta) (tril(P)^T dr + (d_last,i . K) dS),  N = tril(dV U^T, -1)
    dQ_ic = d_ic (dr S^T)_ic + sum_j M_ij d_ijc k_jc
    dK_ic = d_last,ic (U dS^T)_ic + sum_j M_ji d_jic q_jc - N_ji d_jic k_jc
            - d_ic (dV S^T)_ic - sum_j N_ij d_ijc k_jc
    dg_tc = the sum of these products times q_ic or k_ic whose decay passes token t, and of S dS
    dS <- d_last dS + (d . Q)^T dr - (d . K)^T dV
    """,
        "linear": """
    in a chunk whose tokens i decay channel c of the state S before it by d_ic, and of what token j
    wrote by d_ijc, from the last chunk to the first, with dS the gradient of the state behind it:
    P_ij = sum_c q_ic d_ijc k_jc,  dr = scale dO,  M = tril(dr V^T)
    dV = tril(P)^T dr + (d_last,i . K) dS
    dQ_ic = d_ic (dr S^T)_ic + sum_j M_ij d_ijc k_jc
    dK_ic = d_last,ic (V dS^T)_ic + sum_j M_ji d_jic q_jc
    dg_tc = the sum of these products times q_ic or k_ic whose decay passes token t, and of S dS
    dS <- d_last dS + (d . Q)^T dr
    """,
    },
)
