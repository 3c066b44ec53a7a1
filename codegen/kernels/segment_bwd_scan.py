"""Stage segment_bwd_scan: stage bwd_scan on segments, each with its own gradient of the state."""

from __future__ import annotations

from dataclasses import replace

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.kernels import bwd_scan
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.tensor import Sizes
from gdn_ops.codegen.tiling.segment_sizes import chunk_tables, segment_bounds

OWN = ("dstate_segments", "n_segments", "dx_segments")
"""Scratch tensors that a program writes and reads again."""


def _inputs(problem: Problem, config: Config) -> tuple[str, ...]:
    whole = replace(problem, final_state=False, varlen=False)
    return (*bwd_scan.SPEC.inputs(whole, config), "dh_end", *chunk_tables(problem))


def _outputs(problem: Problem, config: Config) -> tuple[str, ...]:
    walked = ("dstate", "n_rows", "dx_rows")
    return (*(x for x in bwd_scan.SPEC.outputs(problem, config) if x not in walked), *OWN)


def _grid(problem: Problem, config: Config, sizes: Sizes) -> tuple[int, ...]:
    return bwd_scan.SPEC.grid(problem, config, sizes._replace(N=sizes.NS))


SPEC = replace(
    bwd_scan.SPEC,
    name="segment_bwd_scan",
    doc="every gradient, walked from the last chunk of a segment to its first.",
    shared=(*bwd_scan.SPEC.shared, "SEG"),
    inputs=_inputs,
    outputs=_outputs,
    grid=_grid,
    loop_bounds=segment_bounds,
)
