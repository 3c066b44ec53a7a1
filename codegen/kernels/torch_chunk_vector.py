"""Stage torch_chunk_vector: the chunkwise rule in plain PyTorch, with a gate per key channel."""

from __future__ import annotations

from dataclasses import replace

from gdn_ops.codegen.kernels import torch_chunk

SPEC = replace(
    torch_chunk.SPEC,
    name="torch_chunk_vector",
    template="torch/torch_chunk_vector",
    equation={
        "delta": """
    in a chunk whose tokens i decay channel c of the state S before it by d_ic, and of what token j
    wrote by d_ijc:
    A = (I + L)^-1 diag(beta),  L_ij = beta_i sum_c k_ic d_ijc k_jc for i > j, else 0
    P_ij = scale sum_c q_ic d_ijc k_jc for i >= j, else 0
    U = A (V - (d . K) S)
    O = scale (d . Q) S + P U
    S <- d_last S + (d_last,i . K)^T U
    """,
        "linear": """
    in a chunk whose tokens i decay channel c of the state S before it by d_ic, and of what token j
    wrote by d_ijc:
    P_ij = scale sum_c q_ic d_ijc k_jc for i >= j, else 0
    O = scale (d . Q) S + P V
    S <- d_last S + (d_last,i . K)^T V
    """,
    },
)
