"""Stage chunk_o: each token's output, from the state before its chunk and from its chunk."""

from __future__ import annotations

from functools import partial

from gdn_ops.codegen.axes import DOT, LOADS, launch_axes
from gdn_ops.codegen.axis import Axis, Config
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.reasons import no_loop_reasons, register_reasons
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.tensor import Sizes
from gdn_ops.codegen.tiling.tiles import count, head_width_reasons, narrow_fp32, tile

BK = Axis("BK", (32, 64, 128), 64, "key channels per tile")
BV = Axis("BV", (32, 64, 128), 64, "value channels per program")
STAGES = 2


def _tiles(problem: Problem, config: Config) -> dict[str, int]:
    width = tile(int(config["BK"]), problem.K)
    return {
        "BK": width,
        "BV": tile(int(config["BV"]), problem.V),
        "NK": count(problem.K, width),
    }


def _inputs(problem: Problem, config: Config) -> tuple[str, ...]:
    packed = ("cu_seqlens", "chunk_indices") if problem.varlen else ()
    written = "v_new" if problem.rule.delta else "v"
    if problem.rule.gate == "vector":
        return ("q", written, "h", "gc", "P", *packed)
    gate = ("gc",) if problem.rule.gate == "scalar" else ()
    return ("q", "k", written, "h", *gate, *packed)


def _outputs(problem: Problem, config: Config) -> tuple[str, ...]:
    return ("o",)


def _grid(problem: Problem, config: Config, sizes: Sizes) -> tuple[int, ...]:
    slices = count(problem.V, tile(int(config["BV"]), problem.V))
    return (sizes.B * problem.HV, sizes.NT, slices)


def _refusals(problem: Problem, config: Config, target: Target) -> list[str]:
    reasons = head_width_reasons(BK, BV, problem, config)
    tiles = _tiles(problem, config)
    tensor_memory = target.accumulates_in_tensor_memory(int(config["num_warps"]))
    if not tensor_memory:
        rows, columns = int(config["BT"]), tiles["BV"]
        what = f"an output of {rows} x {columns} with the scores of a chunk, {rows} x {rows},"
        reasons += register_reasons(what, rows * (rows + columns), config, target)
    if tiles["NK"] == 1:
        reasons += no_loop_reasons(config, STAGES, f"one tile holds K={problem.K}")
    piped = tiles["NK"] > 1 and int(config["num_stages"]) > 1 and int(config["BT"]) >= 64
    if tensor_memory and piped and config["dot"] == "tf32" and problem.rule.gate != "vector":
        # seen with Triton 3.7.1; codegen/compiled/races.py finds it in the compiled code
        reasons.append(
            f"dot=tf32 with num_stages={config['num_stages']} races on {target.arch}: both "
            "products of q read it from tensor memory, and Triton's pipeliner waits for one of "
            "them before the next tile of q overwrites it; use num_stages=1 or another dot"
        )
    return reasons


SPEC = KernelSpec(
    name="chunk_o",
    template="triton/chunk_o",
    doc="the output of each token, from the state before its chunk and from its chunk.",
    equation={
        "delta": """
    o = scale (exp(gc) (q S) + tril(q k^T . G) v_new),  G_ij = exp(gc_i - gc_j)
    """,
        "linear": """
    o = scale (exp(gc) (q S) + tril(q k^T . G) v),  G_ij = exp(gc_i - gc_j)
    """,
        "vector-delta": """
    o = scale (exp(gc) q) S + P v_new
    """,
        "vector-linear": """
    o = scale (exp(gc) q) S + P v
    """,
    },
    shared=("BT", "store"),
    axes=(
        BK,
        BV,
        DOT,
        LOADS,
        *launch_axes(warps=(2, 4, 8), stages=(1, 2, 3, 4), default_stages=STAGES),
    ),
    inputs=_inputs,
    outputs=_outputs,
    scalars=("T", "scale"),
    grid=_grid,
    context=_tiles,
    refusals=_refusals,
    problem_defaults=partial(narrow_fp32, BK, BV),
)
