"""Stage segment_scan: stage scan on segments, each of which begins with its own state."""

from __future__ import annotations

from dataclasses import replace

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.kernels import scan
from gdn_ops.codegen.kernels.segment_sizes import segment_tables
from gdn_ops.codegen.kernels.state_walk import state_grid
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.tensor import Sizes


def _inputs(problem: Problem, config: Config) -> tuple[str, ...]:
    whole = replace(problem, initial_state=False, varlen=False)
    tables = segment_tables(problem)
    return (
        *scan.SPEC.inputs(whole, config),
        "h_start",
        *(tables if problem.final_state else tables[:1]),
    )


def _grid(problem: Problem, config: Config, sizes: Sizes) -> tuple[int, ...]:
    return state_grid(problem, config, replace(sizes, N=sizes.NS))


SPEC = replace(
    scan.SPEC,
    name="segment_scan",
    doc="what each token reads, chunk by chunk of a segment, and the final state.",
    shared=(*scan.SPEC.shared, "SEG"),
    inputs=_inputs,
    grid=_grid,
)
