"""Stage chunk_h: the state before each chunk, computed chunk by chunk."""

from __future__ import annotations

from collections.abc import Mapping

from gdn_ops.codegen.axes import DOT, LAYOUT, LOADS, launch_axes
from gdn_ops.codegen.axis import Config, Value
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.tiling.state_walk import BK, BV, state_grid, state_refusals, state_tiles
from gdn_ops.codegen.tiling.tiles import narrowed


def _context(problem: Problem, config: Config) -> Mapping[str, object]:
    return {**state_tiles(problem, config), "FINAL_STATE": problem.writes_state}


def _inputs(problem: Problem, config: Config) -> tuple[str, ...]:
    gate = ("gc",) if problem.rule.gate != "none" else ()
    initial = ("h0",) if problem.initial_state else ()
    packed = ("cu_seqlens", "chunk_offsets") if problem.varlen else ()
    writes = ("w", "u") if problem.rule.delta else ("v",)
    return ("k", *writes, *gate, *initial, *packed)


def _outputs(problem: Problem, config: Config) -> tuple[str, ...]:
    new = ("v_new",) if problem.rule.delta else ()
    return ("h", *new, "ht") if problem.writes_state else ("h", *new)


def _problem_defaults(problem: Problem) -> Mapping[str, Value]:
    """Products of fp32 run on the vector units, where wider tiles and a pipeline's loads spill.

    With a tile of vector gates a state in [K, V] layout and a pipeline's loads spill.
    """
    if problem.dtype != "fp32":
        vector = problem.rule.gate == "vector"
        return {"layout": "VK", "num_stages": 1} if vector else {}
    return {"BV": narrowed(BV, 16, problem.V), "num_warps": 8, "num_stages": 1}


SPEC = KernelSpec(
    name="chunk_h",
    template="triton/chunk_h",
    doc={
        "delta": "the state before each chunk, and what each token writes.",
        "linear": "the state before each chunk.",
    },
    equation={
        "delta": """
    h = S before the chunk
    v_new = u - w S
    S <- exp(gl) S + k^T (exp(gl - gc) v_new),  gl = gc of the chunk's last token
    """,
        "linear": """
    h = S before the chunk
    S <- exp(gl) S + k^T (exp(gl - gc) v),  gl = gc of the chunk's last token
    """,
        "vector-delta": """
    h = S before the chunk
    v_new = u - w S
    S <- diag(exp(gl)) S + (exp(gl - gc) k)^T v_new,  gl = gc of the chunk's last token
    """,
        "vector-linear": """
    h = S before the chunk
    S <- diag(exp(gl)) S + (exp(gl - gc) k)^T v,  gl = gc of the chunk's last token
    """,
    },
    shared=("BT", "store"),
    axes=(
        BK,
        BV,
        LAYOUT,
        DOT,
        LOADS,
        *launch_axes(warps=(2, 4, 8), stages=(1, 2, 3, 4), default_stages=2),
    ),
    inputs=_inputs,
    outputs=_outputs,
    scalars=("T",),
    grid=state_grid,
    context=_context,
    refusals=state_refusals,
    problem_defaults=_problem_defaults,
)
