"""Stage recurrent_bwd_dqk: the gradients of q, k and the gate, from the first token to the last."""

from __future__ import annotations

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.tiling.token_walk import (
    WALK_AXES,
    gate_inputs,
    sliced,
    walk_context,
    walk_defaults,
    walk_grid,
    walk_refusals,
)


def _inputs(problem: Problem, config: Config) -> tuple[str, ...]:
    gate = problem.rule.gate
    wide = ("dv_wide",) if gate == "vector" else ("dv",)
    delta = problem.rule.delta
    read = (*wide, *("dg_reads",) * (gate == "scalar")) if delta else ()
    initial = ("h0", *("dh0",) * (gate != "none")) if problem.initial_state else ()
    packed = ("cu_seqlens",) * problem.varlen
    old = ("v_old",) * delta
    return (
        "q", "k", "v", *gate_inputs(problem), *old, "do", *read, "dk_writes", *initial, *packed,
    )  # fmt: skip


def _outputs(problem: Problem, config: Config) -> tuple[str, ...]:
    heads = ("dq_slices", "dk_slices") if sliced(problem, config) else ("dq", "dk")
    gate = ("dg_slices",) * (problem.rule.gate != "none")
    raw = ("dA_log_slices",) * problem.gate_in_kernel + ("ddt_bias_slices",) * problem.dt_bias
    return (*heads, *gate, *raw)


SPEC = KernelSpec(
    name="recurrent_bwd_dqk",
    template="triton/recurrent_bwd_dqk",
    doc="the gradients of q, k and the gate, from the first token to the last.",
    equation={
        "delta": """
    S <- exp(g) S,  r = scale S do,  n = beta (v - v_old)
    dq = r + scale (n . do) k
    dk = dk_writes + scale (n . do) q - S dv
    dg of the next token = dg + k dk_writes + k (S dv) - q r, at first <h0, dh0>
    S <- S + k n^T
    """,
        "linear": """
    S <- exp(g) S,  r = scale S do
    dq = r + scale (v . do) k
    dk = dk_writes + scale (v . do) q
    dg of the next token = dg + k dk_writes - q r, at first <h0, dh0>
    S <- S + k v^T
    """,
    },
    shared=("slice",),
    axes=WALK_AXES,
    inputs=_inputs,
    outputs=_outputs,
    scalars=("T", "scale"),
    grid=walk_grid,
    context=walk_context,
    refusals=walk_refusals,
    problem_defaults=walk_defaults,
)
