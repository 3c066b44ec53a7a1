"""Stage chunk_scores: what tokens of a chunk read of each other's keys, for vector gates."""

from __future__ import annotations

from collections.abc import Mapping

from gdn_ops.codegen.axes import DOT, launch_axes
from gdn_ops.codegen.axis import Axis, Config
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.reasons import register_reasons
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.tensor import Sizes
from gdn_ops.codegen.tiling.tiles import tile, width_reasons

BK = Axis("BK", (16, 32, 64, 128), 16, "key channels per tile")


def _context(problem: Problem, config: Config) -> Mapping[str, object]:
    levels = int(config["BT"]).bit_length() - 1
    return {"BK": tile(int(config["BK"]), problem.K), "LEVELS": levels}


def _inputs(problem: Problem, config: Config) -> tuple[str, ...]:
    beta = ("beta",) if problem.rule.delta else ()
    packed = ("cu_seqlens", "chunk_indices") if problem.varlen else ()
    return ("q", "k", "gc", *beta, *packed)


def _outputs(problem: Problem, config: Config) -> tuple[str, ...]:
    return ("P", "L") if problem.rule.delta else ("P",)


def _grid(problem: Problem, config: Config, sizes: Sizes) -> tuple[int, ...]:
    return (sizes.B * problem.HV, sizes.NT)


def _refusals(problem: Problem, config: Config, target: Target) -> list[str]:
    rows, width = int(config["BT"]), tile(int(config["BK"]), problem.K)
    sums = 2 if problem.rule.delta else 1
    what = f"{sums} x {rows} x {rows} scores and three tiles of {rows} x {width}"
    values = rows * (sums * rows + 3 * width)
    return [
        *width_reasons(BK, config, problem.K),
        *register_reasons(what, values, config, target),
    ]


SPEC = KernelSpec(
    name="chunk_scores",
    template="triton/chunk_scores",
    doc={
        "delta": "what tokens of a chunk read of its keys, and its lower triangular matrix.",
        "linear": "what tokens of a chunk read of its keys.",
    },
    equation={
        "delta": """
    P_ij = scale sum_c q_ic k_jc exp(gc_ic - gc_jc) for i >= j, else 0
    L_ij = beta_i sum_c k_ic k_jc exp(gc_ic - gc_jc) for i > j, else 0
    """,
        "linear": """
    P_ij = scale sum_c q_ic k_jc exp(gc_ic - gc_jc) for i >= j, else 0
    """,
    },
    shared=("BT", "store"),
    axes=(
        BK,
        DOT,
        *launch_axes(warps=(2, 4, 8), stages=(1, 2, 3), default_warps=8),
    ),
    inputs=_inputs,
    outputs=_outputs,
    scalars=("T", "scale"),
    grid=_grid,
    context=_context,
    refusals=_refusals,
)
