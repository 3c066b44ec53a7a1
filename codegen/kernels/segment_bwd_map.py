"""Stage segment_bwd_map: the gradient that a segment leaves for the state before it."""

from __future__ import annotations

from functools import partial

from gdn_ops.codegen.axes import DOT, LOADS, launch_axes
from gdn_ops.codegen.axis import Axis, Config
from gdn_ops.codegen.kernels.segment_map import LIMIT, limit_reasons
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.reasons import register_reasons
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.tiling.segment_sizes import place_tables, segment_bounds, segment_grid
from gdn_ops.codegen.tiling.state_walk import BK, product_defaults, state_shape, state_tiles
from gdn_ops.codegen.tiling.tiles import head_width_reasons

BV = Axis("BV", (16, 32, 64, 128), 32, "value channels per program")


def _inputs(problem: Problem, config: Config) -> tuple[str, ...]:
    gate = ("gc", "log_norm") if problem.rule.gate == "scalar" else ()
    final = ("dht",) if problem.final_state else ()
    return ("q", "k", "beta", "A", *gate, "do", *final, *place_tables(problem))


def _outputs(problem: Problem, config: Config) -> tuple[str, ...]:
    return ("dh_local",)


def _refusals(problem: Problem, config: Config, target: Target) -> list[str]:
    BT, (rows, columns) = int(config["BT"]), state_shape(problem, config)
    values, what = rows * columns, f"a state of {rows} x {columns}"
    if not target.accumulates_in_tensor_memory(int(config["num_warps"])):
        values += BT * (BT + 2 * columns)
        what += f" with the scores of a chunk, {BT} x {BT}, and two gradients of its rows"
    return [
        *head_width_reasons(BK, BV, problem, config),
        *register_reasons(what, values, config, target),
        *limit_reasons(problem, config),
    ]


SPEC = KernelSpec(
    name="segment_bwd_map",
    template="triton/segment_bwd_map",
    doc="the gradient that a segment's own outputs leave for the state before it.",
    equation="""
    P = scale tril(q k^T . G),  G_ij = exp(gc_i - gc_j),  gl = gc of the chunk's last token
    dn = P^T do + exp(gl - gc) (k dS),  dX = A^T dn
    dS <- exp(gl) dS + q^T (scale exp(gc) do) - k^T (exp(gc) beta dX), from the last chunk
    dh_local is dS of dS = 0, and of dht in a sequence's last segment
    """,
    shared=("BT", "store", "gate_free", "SEG"),
    axes=(
        BK,
        BV,
        DOT,
        LOADS,
        LIMIT,
        *launch_axes(warps=(4, 8), stages=(1, 2, 3), default_warps=4),
    ),
    inputs=_inputs,
    outputs=_outputs,
    scalars=("T", "scale"),
    grid=segment_grid,
    loop_bounds=segment_bounds,
    context=state_tiles,
    refusals=_refusals,
    problem_defaults=partial(product_defaults, BV),
)
