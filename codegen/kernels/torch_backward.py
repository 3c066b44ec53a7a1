"""Stage torch_backward: the gradients of the chunkwise rule in plain PyTorch."""

from __future__ import annotations

from collections.abc import Mapping

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.dtype import DTYPES
from gdn_ops.codegen.kernels.torch_chunk import SOLVE, rule_inputs
from gdn_ops.codegen.kernels.torch_chunk import SPEC as CHUNK
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.spec import KernelSpec

AXES = {axis.name: axis for axis in CHUNK.axes}


def _inputs(problem: Problem, config: Config) -> tuple[str, ...]:
    packed = ("offsets",) if problem.varlen else ()
    rule = rule_inputs(problem, config)[: -1 if problem.varlen else None]
    return (*rule, "do", *(("dht",) if problem.final_state else ()), *packed)


def _outputs(problem: Problem, config: Config) -> tuple[str, ...]:
    packed = ("offsets",) if problem.varlen else ()
    return tuple(f"d{name}" for name in rule_inputs(problem, config) if name not in packed)


def _context(problem: Problem, config: Config) -> Mapping[str, object]:
    dot = "fp32" if config["dot"] == "ieee" else problem.dtype
    return {"DOT": DTYPES[dot].torch}


SPEC = KernelSpec(
    name="torch_backward",
    template="torch/torch_backward",
    doc="the gradients of the chunkwise rule in plain PyTorch.",
    equation={
        "delta": """
    in a chunk whose tokens i decay the state S before it by d_i, and what token j wrote by d_ij:
    A = (I + tril(L, -1) diag(beta))^-1,  L_ij = d_ij (k_i . k_j),  P_ij = d_ij (q_i . k_j)
    delta = A (V - diag(d_i) K S), so that token j writes k_j (beta_j delta_j)^T
    from the last chunk to the first, with dS the gradient of the state behind the chunk:
    dr_q = scale dO
    dV = A^T diag(beta) (tril(P)^T dr_q + diag(d_last,i) K dS)
    dr_k = -dV
    M = tril(dr delta^T . d) diag(beta), for q, and for k without its diagonal
    dQ, dK = diag(d_i) dr S^T + M K
    dK += M_q^T Q + M_k^T K + diag(beta d_last,i) delta dS^T
    dS <- d_last dS + (diag(d_i) Q)^T dr_q + (diag(d_i) K)^T dr_k
    """,
        "linear": """
    in a chunk whose tokens i decay the state S before it by d_i, and what token j wrote by d_ij,
    from the last chunk to the first, with dS the gradient of the state behind the chunk:
    P_ij = d_ij (q_i . k_j),  dr = scale dO,  M = tril(dr V^T . d)
    dV = tril(P)^T dr + diag(d_last,i) K dS
    dQ = diag(d_i) dr S^T + M K
    dK = M^T Q + diag(d_last,i) V dS^T
    dS <- d_last dS + (diag(d_i) Q)^T dr
    """,
        "vector-delta": """
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
        "vector-linear": """
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
    axes=(AXES["BT"], AXES["AHEAD"], SOLVE, AXES["dot"]),
    inputs=_inputs,
    outputs=_outputs,
    scalars=("scale",),
    context=_context,
    refusals=CHUNK.refusals,
)
