"""Stage torch_backward: the gradients of the delta rule in plain PyTorch, but for vector gates."""

from __future__ import annotations

from gdn_ops.codegen.axis import Axis, Config
from gdn_ops.codegen.kernels.torch_chunk import SPEC as CHUNK
from gdn_ops.codegen.kernels.torch_chunk import dot_context, rule_inputs
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.spec import KernelSpec

HEADS = Axis(
    "HEADS",
    (0, 2, 4),
    4,
    "query heads per CPU thread that are computed at once, while caches hold their states; 0: all",
)


def _inputs(problem: Problem, config: Config) -> tuple[str, ...]:
    packed = ("offsets",) if problem.varlen else ()
    rule = rule_inputs(problem, config)[: -1 if problem.varlen else None]
    return (*rule, "do", *(("dht",) if problem.final_state else ()), *packed)


def _outputs(problem: Problem, config: Config) -> tuple[str, ...]:
    packed = ("offsets",) if problem.varlen else ()
    return tuple(f"d{name}" for name in rule_inputs(problem, config) if name not in packed)


SPEC = KernelSpec(
    name="torch_backward",
    template="torch/torch_backward",
    doc="the gradients of the chunkwise rule in plain PyTorch.",
    equation="""
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
    axes=(*CHUNK.axes, HEADS),
    inputs=_inputs,
    outputs=_outputs,
    scalars=("scale",),
    context=dot_context,
    refusals=CHUNK.refusals,
    problem_defaults=CHUNK.problem_defaults,
)
