"""Stage segment_scan: stage scan on segments, each with its own first state."""

from __future__ import annotations

from dataclasses import replace

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.kernels import scan
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.spec import NamesOf
from gdn_ops.codegen.tiling.segment_sizes import segment_bounds, segment_grid, segment_tables


def of_segments(inputs: NamesOf) -> NamesOf:
    """What a scan reads on segments, from what it reads on sequences."""

    def of_problem(problem: Problem, config: Config) -> tuple[str, ...]:
        whole = replace(problem, initial_state=False, varlen=False)
        tables = segment_tables(problem)
        return (
            *inputs(whole, config),
            "h_start",
            *(tables if problem.final_state else tables[:1]),
        )

    return of_problem


SPEC = replace(
    scan.SPEC,
    name="segment_scan",
    doc="the outputs of a segment, chunk by chunk, and the final state of its sequence.",
    shared=(*scan.SPEC.shared, "SEG"),
    inputs=of_segments(scan.SPEC.inputs),
    grid=segment_grid,
    loop_bounds=segment_bounds,
)
