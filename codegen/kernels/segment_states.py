"""Stage segment_states: stage states on segments, each of which begins with its own state."""

from __future__ import annotations

from dataclasses import replace

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.kernels import states
from gdn_ops.codegen.kernels.segment_sizes import chunk_tables, segment_grid
from gdn_ops.codegen.problem import Problem


def _inputs(problem: Problem, config: Config) -> tuple[str, ...]:
    whole = replace(problem, initial_state=False, varlen=False)
    return (*states.SPEC.inputs(whole, config), "h_start", *chunk_tables(problem))


SPEC = replace(
    states.SPEC,
    name="segment_states",
    doc="the state before each chunk, by segments.",
    shared=(*states.SPEC.shared, "SEG"),
    inputs=_inputs,
    grid=segment_grid,
)
