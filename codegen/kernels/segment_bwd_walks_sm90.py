"""Stage segment_bwd_walks_sm90: stage bwd_walks_sm90 on segments, each from both of its ends."""

from __future__ import annotations

from dataclasses import replace

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.kernels import bwd_walks_sm90
from gdn_ops.codegen.kernels.scan_sm90 import tile_reasons
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.tensor import Sizes
from gdn_ops.codegen.tiling.segment_sizes import chunk_tables, segment_bounds


def _inputs(problem: Problem, config: Config) -> tuple[str, ...]:
    whole = replace(problem, initial_state=False, final_state=False, varlen=False)
    walked = bwd_walks_sm90.SPEC.inputs(whole, config)
    return (*walked, "h_start", "dh_end", *chunk_tables(problem))


def _grid(problem: Problem, config: Config, sizes: Sizes) -> tuple[int, ...]:
    return bwd_walks_sm90.SPEC.grid(problem, config, sizes._replace(N=sizes.NS))


def _refusals(problem: Problem, config: Config, target: Target) -> list[str]:
    return tile_reasons(SPEC.name, problem)


SPEC = replace(
    bwd_walks_sm90.SPEC,
    name="segment_bwd_walks_sm90",
    doc="the state before each chunk and the gradient after it, by segments.",
    shared=(*bwd_walks_sm90.SPEC.shared, "SEG"),
    inputs=_inputs,
    grid=_grid,
    refusals=_refusals,
    loop_bounds=segment_bounds,
)
