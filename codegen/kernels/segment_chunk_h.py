"""Stage segment_chunk_h: stage chunk_h_only on segments, each with its own first state."""

from __future__ import annotations

from dataclasses import replace

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.kernels import chunk_h_only
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.tiling.segment_sizes import chunk_tables, segment_bounds, segment_grid


def _inputs(problem: Problem, config: Config) -> tuple[str, ...]:
    whole = replace(problem, initial_state=False, varlen=False)
    return (*chunk_h_only.SPEC.inputs(whole, config), "h_start", *chunk_tables(problem))


SPEC = replace(
    chunk_h_only.SPEC,
    name="segment_chunk_h",
    doc="the state before each chunk, by segments.",
    shared=(*chunk_h_only.SPEC.shared, "SEG"),
    inputs=_inputs,
    grid=segment_grid,
    loop_bounds=segment_bounds,
)
