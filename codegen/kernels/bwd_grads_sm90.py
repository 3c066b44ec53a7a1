"""Stage bwd_grads_sm90: the gradients of each chunk, for Hopper, all chunks in parallel."""

from __future__ import annotations

from collections.abc import Mapping

from gdn_ops.codegen.axis import Axis, Config
from gdn_ops.codegen.kernels import bwd_gate
from gdn_ops.codegen.kernels.scan_sm90 import tile_reasons
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.tensor import Sizes


def _gated(problem: Problem) -> bool:
    return problem.rule.gate == "scalar"


def _inputs(problem: Problem, config: Config) -> tuple[str, ...]:
    packed = ("cu_seqlens", "chunk_indices") if problem.varlen else ()
    sums = ("gc",) if _gated(problem) else ()
    of_gate = bwd_gate.SPEC.inputs(problem, config) if _gated(problem) else ()
    gate = tuple(name for name in of_gate if name != "dgc" and name not in packed)
    return ("q", "k", "v", "beta", "A", *sums, "h", "do", "dh", *gate, *packed)


def _outputs(problem: Problem, config: Config) -> tuple[str, ...]:
    keys = ("dq_heads", "dk_heads") if problem.group > 1 else ("dq", "dk")
    gate = bwd_gate.SPEC.outputs(problem, config) if _gated(problem) else ()
    return (*keys, "dv", "dbeta", *gate)


def _grid(problem: Problem, config: Config, sizes: Sizes) -> tuple[int, ...]:
    return (sizes.B * problem.HV, sizes.NT)


def _blocks(problem: Problem, config: Config) -> Mapping[str, tuple[int, int]]:
    BT = int(config["BT"])
    rows, state = (BT, problem.K), (problem.K, problem.V)
    dq, dk, dv, *_ = _outputs(problem, config)
    tokens = dict.fromkeys(("q", "k", "v", "do", dq, dk, dv), rows)
    return {**tokens, "A": (BT, BT), "h": state, "dh": state}


def _refusals(problem: Problem, config: Config, target: Target) -> list[str]:
    return tile_reasons(SPEC.name, problem)


SPEC = KernelSpec(
    name="bwd_grads_sm90",
    template="gluon/bwd_grads_sm90",
    doc="every gradient of a chunk, from the states before and after it.",
    equation="""
    S = h before the chunk, dS = dh of the state after it,  gl = gc of the last token
    y = v - exp(gc) (k S),  n = A (beta y),  P = scale tril(q k^T . G),  G_ij = exp(gc_i - gc_j)
    dn = P^T do + exp(gl - gc) (k dS),  dX = A^T dn,  dv = beta dX
    dP = scale tril(do n^T . G),  dL = -strict_tril(dX n^T . G),  M = beta dL
    Q = scale exp(gc) (do S^T),  dq = Q + dP k
    D = exp(gl - gc) (n dS^T),  dk = D - exp(gc) (dv S^T) + dP^T q + (M + M^T) k
    dbeta = rowsum(dX y) + rowsum(dL . k k^T)
    R = strict_tril(dP) . q k^T + M . k k^T,  D without the last token from here on
    dgc = rowsum(q Q) - rowsum(dv exp(gc) (k S)) - rowsum(k D) + rowsum(R) - colsum(R),
        at the last token + sum(k D) + exp(gl) sum(S dS)
    dg_t = sum of dgc_s over the tokens s >= t of the chunk; a raw gate as in stage bwd_gate
    """,
    shared=("BT", "store"),
    axes=(
        Axis("num_warps", (8,), 8, "warps per program", launch=True),
        Axis("enable_fp_fusion", (True, False), True, "contract a * b + c to one FMA", launch=True),
    ),
    inputs=_inputs,
    outputs=_outputs,
    scalars=("T", "scale"),
    grid=_grid,
    refusals=_refusals,
    archs=("sm_90",),
    blocks=_blocks,
)
