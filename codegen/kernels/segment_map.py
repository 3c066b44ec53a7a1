"""Stage segment_map: what a segment makes of the state before it, M S + h_local."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from gdn_ops.codegen.axes import DOT, LOADS, launch_axes
from gdn_ops.codegen.axis import Axis, Config
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.reasons import register_reasons, same_reasons
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.tensor import Sizes
from gdn_ops.codegen.tiling.segment_sizes import row_tokens, segment_bounds, segment_tables
from gdn_ops.codegen.tiling.state_walk import BK, product_defaults, state_shape, state_tiles
from gdn_ops.codegen.tiling.tiles import count, head_width_reasons

BV = Axis("BV", (16, 32, 64, 128), 32, "columns of h_local or M per program")
LIMIT = Axis("LIMIT", (10, 20, 40), 20, "states decayed by more than exp(-LIMIT) are left out")


def _tiles(problem: Problem, config: Config) -> dict[str, int]:
    tiles = state_tiles(problem, config)
    return {**tiles, "NM": count(problem.K, tiles["BV"])}


def _inputs(problem: Problem, config: Config) -> tuple[str, ...]:
    gate = ("gc", "log_norm") if problem.rule.gate == "scalar" else ()
    return ("k", "v", "beta", "A", *gate, *segment_tables(problem))


def _outputs(problem: Problem, config: Config) -> tuple[str, ...]:
    return ("M", "h_local", *(("whole",) if problem.rule.gate == "scalar" else ()))


def _grid(problem: Problem, config: Config, sizes: Sizes) -> tuple[int, ...]:
    tiles = _tiles(problem, config)
    return ((tiles["NV"] + tiles["NM"]) * sizes.NS * problem.HV,)


def _refusals(problem: Problem, config: Config, target: Target) -> list[str]:
    BT, (rows, columns) = int(config["BT"]), state_shape(problem, config)
    what = f"a state of {rows} x {columns} with what a chunk of {BT} tokens writes"
    return [
        *head_width_reasons(BK, BV, problem, config),
        *register_reasons(what, (rows + 2 * BT) * columns, config, target),
        *limit_reasons(problem, config),
    ]


def limit_reasons(problem: Problem, config: Config) -> list[str]:
    """Refuse a LIMIT that changes nothing without a gate, and one too coarse for fp32."""
    if problem.rule.gate == "none":
        return same_reasons("LIMIT", config, LIMIT.default, "without a gate")
    if problem.dtype == "fp32" and config["LIMIT"] == 10:
        return ["LIMIT=10 leaves out 5e-5 of a state, too much for fp32 q, k, v; use LIMIT=20"]
    return []


def _loop_bounds(problem: Problem, config: Config, sizes: Sizes) -> Mapping[str, int]:
    # the walk goes to the last chunk, and is longest if no decay hides a chunk
    return {**segment_bounds(problem, config, sizes), "i_w": -1}


SPEC = KernelSpec(
    name="segment_map",
    template="triton/segment_map",
    doc="what a segment makes of the state before it, M S + h_local.",
    equation="""
    n = A (beta (v - exp(gc) (k S)))
    S <- exp(gl) S + k^T (exp(gl - gc) n),  gl = gc of the chunk's last token
    h_local is S of S = 0; M is S of the identity, without v
    """,
    shared=("BT", "store", "SEG"),
    axes=(
        BK,
        BV,
        DOT,
        LOADS,
        LIMIT,
        *launch_axes(warps=(4, 8), stages=(1, 2, 3), default_warps=4, default_stages=2),
    ),
    inputs=_inputs,
    outputs=_outputs,
    problem_scalars=row_tokens,
    loop_bounds=_loop_bounds,
    grid=_grid,
    context=_tiles,
    refusals=_refusals,
    problem_defaults=partial(product_defaults, BV),
)
