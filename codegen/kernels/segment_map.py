"""Stage segment_map: what a segment makes of the state before it, M S + h_local."""

from __future__ import annotations

from functools import partial

from gdn_ops.codegen.axis import Axis, Config
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.tensor import Sizes
from gdn_ops.codegen.tiling.launch_axes import launch_axes
from gdn_ops.codegen.tiling.segment_sizes import segment_tables, tokens_of_a_row
from gdn_ops.codegen.tiling.state_walk import BK, product_defaults, state_tiles
from gdn_ops.codegen.tiling.tiles import count, register_reasons, twin_reasons

BV = Axis("BV", (16, 32, 64, 128), 32, "columns of one program, of h_local or of M")
LIMIT = Axis("LIMIT", (10, 20, 40), 20, "what lies behind a decay of exp(-LIMIT) is left out")


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
    tiles, BT = state_tiles(problem, config), int(config["BT"])
    rows, columns = tiles["NK"] * tiles["BK"], tiles["BV"]
    what = f"a state of {rows} x {columns} with what a chunk of {BT} tokens writes"
    return [
        *twin_reasons(BK, config, problem.K),
        *twin_reasons(BV, config, problem.V),
        *register_reasons(what, (rows + 2 * BT) * columns, config, target),
        *limit_reasons(problem, config),
    ]


def limit_reasons(problem: Problem, config: Config) -> list[str]:
    """Refuse a LIMIT that says nothing without a gate, and one that fp32 would notice."""
    limit, usual = config["LIMIT"], LIMIT.default
    if problem.rule.gate == "none" and limit != usual:
        return [f"LIMIT={limit} is the same as LIMIT={usual} without a gate"]
    if problem.dtype == "fp32" and limit == 10:
        return ["LIMIT=10 leaves out 5e-5 of a state, which fp32 q, k, v ask for; use LIMIT=20"]
    return []


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
        Axis("dot", ("ieee", "tf32", "tf32x3", "native"), "native", "precision of the products"),
        Axis("loads", ("pointer", "descriptor"), "pointer", "how tiles of k, v, A are read"),
        LIMIT,
        *launch_axes(warps=(4, 8), stages=(1, 2, 3), default_warps=4, default_stages=2),
    ),
    inputs=_inputs,
    outputs=_outputs,
    problem_scalars=tokens_of_a_row,
    grid=_grid,
    context=_tiles,
    refusals=_refusals,
    problem_defaults=partial(product_defaults, BV),
)
