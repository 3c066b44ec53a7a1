"""Stage bwd_scan: every gradient in one walk over the chunks, from the last to the first."""

from __future__ import annotations

from collections.abc import Mapping

from gdn_ops.codegen.axes import DOT, launch_axes
from gdn_ops.codegen.axis import Axis, Config
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.reasons import register_reasons
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.tensor import TENSORS, Sizes
from gdn_ops.codegen.tiling.tiles import head_width_reasons, tile

BK = Axis("BK", (32, 64, 128), 32, "key channels per tile")
BV = Axis("BV", (32, 64, 128), 32, "value channels per tile")
WIDEST = 128


def _tiles(problem: Problem, config: Config) -> dict[str, int]:
    return {
        "BK": tile(int(config["BK"]), problem.K),
        "BV": tile(int(config["BV"]), problem.V),
    }


def _context(problem: Problem, config: Config) -> Mapping[str, object]:
    DQ = TENSORS[_outputs(problem, config)[0]].element(problem, config)
    return {**_tiles(problem, config), "DQ": DQ, "loads": "pointer"}


def _inputs(problem: Problem, config: Config) -> tuple[str, ...]:
    gate = ("gc",) if problem.rule.gate == "scalar" else ()
    final = ("dht",) if problem.final_state else ()
    packed = ("cu_seqlens", "chunk_offsets") if problem.varlen else ()
    return ("q", "k", "v", "beta", "A", *gate, "h", "do", *final, *packed)


def _outputs(problem: Problem, config: Config) -> tuple[str, ...]:
    keys = ("dq_heads", "dk_heads") if problem.group > 1 else ("dq", "dk")
    gate = ("dgc",) if problem.rule.gate == "scalar" else ()
    walked = "dh0" if problem.initial_state else "dstate"
    return (*keys, "dv", "dbeta", *gate, walked, "n_rows", "dx_rows")


def _grid(problem: Problem, config: Config, sizes: Sizes) -> tuple[int, ...]:
    # in the first dimension: the others take 65535 programs and N * HV can be more
    return (sizes.N * problem.HV,)


def _refusals(problem: Problem, config: Config, target: Target) -> list[str]:
    reasons = head_width_reasons(BK, BV, problem, config)
    rows, tiles = int(config["BT"]), _tiles(problem, config)
    if not target.accumulates_in_tensor_memory(int(config["num_warps"])):
        what = f"two gradients of {rows} x {rows} and two of {rows} x {tiles['BV']}"
        values = 2 * rows * (rows + tiles["BV"])
        reasons += register_reasons(what, values, config, target)
    elif WIDEST in (tiles["BK"], tiles["BV"]):
        # seen with Triton 3.7: "parent layout must have at least rank >= 2"
        reasons.append(f"tiles of {WIDEST} channels do not compile for {target.arch}; use 64 or 32")
    return reasons


SPEC = KernelSpec(
    name="bwd_scan",
    template="triton/bwd_scan",
    doc="every gradient, walked from the last chunk to the first.",
    equation="""
    S = h before the chunk, dS of the state after it,  gl = gc of the last token
    y = v - exp(gc) (k S),  n = A (beta y),  P = scale tril(q k^T . G),  G_ij = exp(gc_i - gc_j)
    dn = P^T do + exp(gl - gc) (k dS),  dX = A^T dn,  dv = beta dX
    dP = scale tril(do n^T . G),  dL = -strict_tril(dX n^T . G),  M = beta dL
    Q = scale exp(gc) (do S^T),  dq = Q + dP k
    D = exp(gl - gc) (n dS^T),  dk = D - exp(gc) (dv S^T) + dP^T q + (M + M^T) k
    dbeta = rowsum(dX y) + rowsum(dL . k k^T)
    R = strict_tril(dP) . q k^T + M . k k^T,  D without the last token from here on
    dgc = rowsum(q Q) - rowsum(dv exp(gc) (k S)) - rowsum(k D) + rowsum(R) - colsum(R),
        at the last token + sum(k D) + exp(gl) sum(S dS)
    dS <- exp(gl) dS + q^T (scale exp(gc) do) - k^T (exp(gc) dv)
    with gate_free, A comes without the decay and is first multiplied by G, elementwise
    """,
    shared=("BT", "store", "gate_free"),
    axes=(
        BK,
        BV,
        DOT,
        *launch_axes(warps=(4, 8), stages=(1, 2, 3)),
    ),
    inputs=_inputs,
    outputs=_outputs,
    scalars=("T", "scale"),
    grid=_grid,
    context=_context,
    refusals=_refusals,
)
