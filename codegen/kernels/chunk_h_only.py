"""Stage chunk_h_only: the state before each chunk and nothing else, for the backward pass."""

from __future__ import annotations

from collections.abc import Mapping

from gdn_ops.codegen.axes import DOT, LAYOUT, LOADS, launch_axes
from gdn_ops.codegen.axis import Config, Value
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.tiling.state_walk import BK, BV, state_grid, state_refusals, state_tiles
from gdn_ops.codegen.tiling.tiles import narrowed


def _inputs(problem: Problem, config: Config) -> tuple[str, ...]:
    gate = ("gc",) if problem.rule.gate == "scalar" else ()
    initial = ("h0",) if problem.initial_state else ()
    packed = ("cu_seqlens", "chunk_offsets") if problem.varlen else ()
    return ("k", "v", "beta", "A", *gate, *initial, *packed)


def _outputs(problem: Problem, config: Config) -> tuple[str, ...]:
    return ("h",)


def _problem_defaults(problem: Problem) -> Mapping[str, Value]:
    """Products of fp32 run on the vector units, where wider tiles spill."""
    if problem.dtype != "fp32":
        return {}
    return {"BK": narrowed(BK, 32, problem.K), "BV": narrowed(BV, 16, problem.V), "num_warps": 8}


SPEC = KernelSpec(
    name="chunk_h_only",
    template="triton/chunk_h_only",
    doc="the state before each chunk.",
    equation="""
    h = S before the chunk
    n = A (beta (v - exp(gc) (k S)))
    S <- exp(gl) S + k^T (exp(gl - gc) n),  gl = gc of the chunk's last token
    with gate_free, A comes without the decay and is first multiplied by G, elementwise
    """,
    shared=("BT", "store", "gate_free"),
    axes=(
        BK,
        BV,
        LAYOUT,
        DOT,
        LOADS,
        *launch_axes(warps=(4, 8), stages=(1, 2, 3), default_warps=4),
    ),
    inputs=_inputs,
    outputs=_outputs,
    scalars=("T",),
    grid=state_grid,
    context=state_tiles,
    refusals=state_refusals,
    problem_defaults=_problem_defaults,
)
