"""Stage gate_cumsum: the log decay, computed here if the gate is raw, summed within chunks."""

from __future__ import annotations

from gdn_ops.codegen.axes import launch_axes
from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.tiling.gate_tiles import BH, gates_context, gates_grid


def _inputs(problem: Problem, config: Config) -> tuple[str, ...]:
    raw = ("A_log", "dt_bias") if problem.dt_bias else ("A_log",)
    packed = ("cu_seqlens", "chunk_indices") if problem.varlen else ()
    return ("g", *(raw if problem.gate_in_kernel else ()), *packed)


def _outputs(problem: Problem, config: Config) -> tuple[str, ...]:
    return ("gc",)


SPEC = KernelSpec(
    name="gate_cumsum",
    template="triton/gate_cumsum",
    doc="the log decay summed from the first token of each chunk.",
    equation="""
    gc_t = sum of g_s over the tokens s <= t of the chunk
    g_s = -exp(A_log) softplus(a_s + dt_bias) where the gate comes raw
    """,
    shared=("BT",),
    axes=(
        BH,
        *launch_axes(warps=(1, 2, 4, 8), stages=(1,)),
    ),
    inputs=_inputs,
    outputs=_outputs,
    scalars=("T",),
    grid=gates_grid,
    context=gates_context,
)
