"""Stage torch_backward_linear: torch_backward of the rule without the delta."""

from __future__ import annotations

from dataclasses import replace

from gdn_ops.codegen.kernels import torch_backward
from gdn_ops.codegen.kernels.torch_chunk import SPEC as CHUNK

SPEC = replace(
    torch_backward.SPEC,
    name="torch_backward_linear",
    template="torch/torch_backward_linear",
    axes=CHUNK.axes,
    equation="""
    in a chunk whose tokens i decay the state S before it by d_i, and what token j wrote by d_ij,
    from the last chunk to the first, with dS the gradient of the state behind the chunk:
    P_ij = d_ij (q_i . k_j),  dr = scale dO,  M = tril(dr V^T . d)
    dV = tril(P)^T dr + diag(d_last,i) K dS
    dQ = diag(d_i) dr S^T + M K
    dK = M^T Q + diag(d_last,i) V dS^T
    dS <- d_last dS + (diag(d_i) Q)^T dr
    """,
)
