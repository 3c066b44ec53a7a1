"""Stage bwd_gate: the gradient of the gate from that of its sums, activation included."""

from __future__ import annotations

from gdn_ops.codegen.axes import launch_axes
from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.tiling.gate_tiles import BH, gates_context, gates_grid


def _inputs(problem: Problem, config: Config) -> tuple[str, ...]:
    raw = ("A_log", "dt_bias") if problem.dt_bias else ("A_log",)
    packed = ("cu_seqlens", "chunk_indices") if problem.varlen else ()
    return ("g", "dgc", *(raw if problem.gate_in_kernel else ()), *packed)


def _outputs(problem: Problem, config: Config) -> tuple[str, ...]:
    bias = ("ddt_bias_chunks",) if problem.dt_bias else ()
    return ("dg", "dA_log_chunks", *bias) if problem.gate_in_kernel else ("dg",)


SPEC = KernelSpec(
    name="bwd_gate",
    template="triton/bwd_gate",
    doc="the gradient of the log decay, and of what a raw gate is made of.",
    equation="""
    dg_t = sum of dgc_s over the tokens s >= t of the chunk
    of g_t = -exp(A_log) softplus(x_t), x_t = a_t + dt_bias, where the gate comes raw:
    da_t = -exp(A_log) sigmoid(x_t) dg_t,  dA_log = sum of g_t dg_t,  ddt_bias = sum of da_t
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
