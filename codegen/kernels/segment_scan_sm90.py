"""Stage segment_scan_sm90: stage scan_sm90 on segments, each with its own first state."""

from __future__ import annotations

from dataclasses import replace

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.kernels import scan_sm90
from gdn_ops.codegen.kernels.segment_scan import of_segments
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.tensor import Sizes
from gdn_ops.codegen.tiling.segment_sizes import segment_bounds


def _grid(problem: Problem, config: Config, sizes: Sizes) -> tuple[int, ...]:
    return scan_sm90.SPEC.grid(problem, config, sizes._replace(N=sizes.NS))


def _refusals(problem: Problem, config: Config, target: Target) -> list[str]:
    return scan_sm90.channel_reasons(SPEC.name, problem, config)


SPEC = replace(
    scan_sm90.SPEC,
    name="segment_scan_sm90",
    doc="the outputs of a segment, chunk by chunk, and the final state of its sequence.",
    shared=(*scan_sm90.SPEC.shared, "SEG"),
    inputs=of_segments(scan_sm90.SPEC.inputs),
    grid=_grid,
    refusals=_refusals,
    loop_bounds=segment_bounds,
)
