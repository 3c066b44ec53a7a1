"""Stage segment_bound: an upper bound of the factor by which a chunk multiplies a state."""

from __future__ import annotations

from collections.abc import Mapping

from gdn_ops.codegen.axes import launch_axes
from gdn_ops.codegen.axis import Axis, Config
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.tensor import Sizes
from gdn_ops.codegen.tiling.segment_sizes import row_tokens, segment_bounds, segment_tables
from gdn_ops.codegen.tiling.tiles import count, tile, width_reasons

BK = Axis("BK", (32, 64, 128), 64, "key channels per tile")


def _context(problem: Problem, config: Config) -> Mapping[str, int]:
    width = tile(int(config["BK"]), problem.K)
    return {
        "BK": width,
        "NK": count(problem.K, width),
        "BG": 1 << (problem.group - 1).bit_length(),
    }


def _inputs(problem: Problem, config: Config) -> tuple[str, ...]:
    return ("k", "beta", "gc", *segment_tables(problem))


def _outputs(problem: Problem, config: Config) -> tuple[str, ...]:
    return ("log_norm",)


def _grid(problem: Problem, config: Config, sizes: Sizes) -> tuple[int, ...]:
    return (sizes.NS * int(config["SEG"]) * problem.H,)


def _refusals(problem: Problem, config: Config, target: Target) -> list[str]:
    return width_reasons(BK, config, problem.K)


SPEC = KernelSpec(
    name="segment_bound",
    template="triton/segment_bound",
    doc="an upper bound of how much a chunk multiplies a state by.",
    equation="""
    log_norm = gc of the chunk's last token + sum_t log max(1, |1 - beta_t k_t . k_t|)
    """,
    shared=("BT", "SEG"),
    axes=(BK, *launch_axes(warps=(1, 2, 4, 8), stages=(1,))),
    inputs=_inputs,
    outputs=_outputs,
    problem_scalars=row_tokens,
    loop_bounds=segment_bounds,
    grid=_grid,
    context=_context,
    refusals=_refusals,
)
