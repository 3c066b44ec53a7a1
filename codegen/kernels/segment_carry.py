"""Stage segment_carry: the state before each segment, one after another."""

from __future__ import annotations

from collections.abc import Mapping

from gdn_ops.codegen.axes import launch_axes, merge_dot
from gdn_ops.codegen.axis import Axis, Config, Value
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.reasons import register_reasons
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.tiling.segment_sizes import row_tokens, segment_bounds
from gdn_ops.codegen.tiling.state_walk import BK, state_grid, state_shape, state_tiles
from gdn_ops.codegen.tiling.tiles import head_width_reasons

BV = Axis("BV", (16, 32, 64, 128), 16, "value channels per program")

# without ieee: its products run on the vector units and spill 5 KB per thread
MERGE = merge_dot(("tf32", "tf32x3", "bf16x3", "bf16x6"), "bf16x3", "M S")


def _inputs(problem: Problem, config: Config) -> tuple[str, ...]:
    gate = ("whole",) if problem.rule.gate == "scalar" else ()
    initial = ("h0",) if problem.initial_state else ()
    packed = ("segment_offsets",) if problem.varlen else ()
    return ("M", "h_local", *gate, *initial, *packed)


def _outputs(problem: Problem, config: Config) -> tuple[str, ...]:
    return ("h_start",)


def _refusals(problem: Problem, config: Config, target: Target) -> list[str]:
    rows, columns = state_shape(problem, config)
    what = f"two states of {rows} x {columns}"
    reasons = [
        *head_width_reasons(BK, BV, problem, config),
        *register_reasons(what, 2 * rows * columns, config, target),
    ]
    if config["merge_dot"] == "bf16x3" and problem.dtype == "fp32":
        reasons.append("merge_dot=bf16x3 keeps 16 bits of fp32 states; use bf16x6 or tf32x3")
    return reasons


def _problem_defaults(problem: Problem) -> Mapping[str, Value]:
    if problem.dtype == "fp32":
        return {"merge_dot": "bf16x6"}
    # M in one tile: the tiles are loaded one after another, and each load takes a microsecond
    return {"BK": 128, "num_warps": 8} if problem.K == 128 else {}


SPEC = KernelSpec(
    name="segment_carry",
    template="triton/segment_carry",
    doc="the state before each segment, one after another.",
    equation="""
    h_start of a sequence's first segment = h0, or 0
    h_start of the next = M h_start + h_local, in fp32; M is 0 where it was not made whole
    """,
    shared=("BT", "SEG"),
    axes=(
        BK,
        BV,
        MERGE,
        *launch_axes(warps=(4, 8), stages=(1, 2, 3), default_warps=4, default_stages=1),
    ),
    inputs=_inputs,
    outputs=_outputs,
    problem_scalars=row_tokens,
    loop_bounds=segment_bounds,
    grid=state_grid,
    context=state_tiles,
    refusals=_refusals,
    problem_defaults=_problem_defaults,
)
