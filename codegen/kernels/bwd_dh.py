"""Stage bwd_dh: the gradient of the state after each chunk, from the last chunk to the first."""

from __future__ import annotations

from collections.abc import Mapping

from gdn_ops.codegen.axes import DOT, LAYOUT, LOADS, launch_axes
from gdn_ops.codegen.axis import Config, Value
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.tiling.state_walk import BK, BV, state_grid, state_refusals, state_tiles
from gdn_ops.codegen.tiling.tiles import narrowed


def _inputs(problem: Problem, config: Config) -> tuple[str, ...]:
    gate = ("gc",) if problem.rule.gate != "none" else ()
    final = ("dht",) if problem.final_state else ()
    packed = ("cu_seqlens", "chunk_offsets") if problem.varlen else ()
    reads = ("w",) if problem.rule.delta else ()
    return ("q", "k", *reads, *gate, "do", "dv_local", *final, *packed)


def _outputs(problem: Problem, config: Config) -> tuple[str, ...]:
    written = "dv_new" if problem.rule.delta else "dv"
    return (written, "dh", "dh0") if problem.initial_state else (written, "dh")


def _problem_defaults(problem: Problem) -> Mapping[str, Value]:
    """With more than 128 key channels a pipeline needs more shared memory than many GPUs have.

    Products of fp32 run on the vector units, where wider tiles and a state in [K, V] layout spill.
    Vector gates add values per token, with which a pipeline of any width spills.
    """
    vector = problem.rule.gate == "vector"
    deep = {"num_stages": 1} if vector or problem.K > 128 else {}
    if problem.dtype != "fp32":
        return {"num_warps": 8, **deep} if vector else deep
    return {"BV": narrowed(BV, 16, problem.V), "layout": "VK", "num_warps": 8, **deep}


SPEC = KernelSpec(
    name="bwd_dh",
    template="triton/bwd_dh",
    doc="the gradients of the state after each chunk and of what each token writes.",
    equation={
        "delta": """
    dh = dS after the chunk
    dv_new = dv_local + exp(gl - gc) (k dS),  gl = gc of the chunk's last token
    dS <- exp(gl) dS + scale (exp(gc) q)^T do - w^T dv_new
    """,
        "linear": """
    dh = dS after the chunk
    dv = dv_local + exp(gl - gc) (k dS),  gl = gc of the chunk's last token
    dS <- exp(gl) dS + scale (exp(gc) q)^T do
    """,
        "vector-delta": """
    dh = dS after the chunk
    dv_new = dv_local + (exp(gl - gc) k) dS,  gl = gc of the chunk's last token
    dS <- diag(exp(gl)) dS + scale (exp(gc) q)^T do - w^T dv_new
    """,
        "vector-linear": """
    dh = dS after the chunk
    dv = dv_local + (exp(gl - gc) k) dS,  gl = gc of the chunk's last token
    dS <- diag(exp(gl)) dS + scale (exp(gc) q)^T do
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
    scalars=("T", "scale"),
    grid=state_grid,
    context=state_tiles,
    refusals=state_refusals,
    problem_defaults=_problem_defaults,
)
