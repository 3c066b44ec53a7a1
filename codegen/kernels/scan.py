"""Stage scan: outputs and final state, chunk by chunk with the state in registers."""

from __future__ import annotations

from functools import partial

from gdn_ops.codegen.axes import DOT, EXP, LAYOUT, LOADS, launch_axes
from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.reasons import register_reasons
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.tiling.state_walk import (
    BK,
    BV,
    exp_reasons,
    product_defaults,
    state_grid,
    state_shape,
    state_tiles,
)
from gdn_ops.codegen.tiling.tiles import head_width_reasons


def _inputs(problem: Problem, config: Config) -> tuple[str, ...]:
    gate = ("gc",) if problem.rule.gate == "scalar" else ()
    initial = ("h0",) if problem.initial_state else ()
    packed = ("cu_seqlens",) if problem.varlen else ()
    return ("q", "k", "v", "beta", "A", *gate, *initial, *packed)


def _outputs(problem: Problem, config: Config) -> tuple[str, ...]:
    return ("o", "ht") if problem.final_state else ("o",)


def _refusals(problem: Problem, config: Config, target: Target) -> list[str]:
    rows, columns = state_shape(problem, config)
    reasons = head_width_reasons(BK, BV, problem, config)
    reasons += exp_reasons(problem, config)
    values, what = rows * columns, f"a state of {rows} x {columns}"
    if not target.accumulates_in_tensor_memory(int(config["num_warps"])):
        BT = int(config["BT"])
        values += BT * (BT + 2 * columns)
        what += f" with the scores of a chunk, {BT} x {BT}, what it writes and its outputs,"
    return reasons + register_reasons(what, values, config, target)


SPEC = KernelSpec(
    name="scan",
    template="triton/scan",
    doc="the outputs of a sequence, chunk by chunk, and its final state.",
    equation="""
    n = A (beta (v - exp(gc) (k S)))
    o = scale (exp(gc) (q S) + tril(q k^T . G) n),  G_ij = exp(gc_i - gc_j)
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
        EXP,
        *launch_axes(warps=(4, 8), stages=(1, 2, 3), default_warps=4, default_stages=2),
    ),
    inputs=_inputs,
    outputs=_outputs,
    scalars=("T", "scale"),
    grid=state_grid,
    context=state_tiles,
    refusals=_refusals,
    problem_defaults=partial(product_defaults, BV),
)
