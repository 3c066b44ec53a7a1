"""Stage recurrent_bwd_dv: the gradients of what tokens write, from the last token to the first."""

from __future__ import annotations

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.tiling.token_walk import (
    WALK_AXES,
    gate_inputs,
    walk_defaults,
    walk_grid,
    walk_refusals,
    walk_tiles,
)


def _inputs(problem: Problem, config: Config) -> tuple[str, ...]:
    read = ("v_old",) * problem.rule.delta
    final = ("dht",) * problem.final_state
    packed = ("cu_seqlens",) * problem.varlen
    return ("q", "k", "v", *gate_inputs(problem), *read, "do", *final, *packed)


def _outputs(problem: Problem, config: Config) -> tuple[str, ...]:
    gate = {"none": (), "scalar": ("dg_reads",), "vector": ("dv_wide",)}[problem.rule.gate]
    delta = ("dbeta_slices", *gate) if problem.rule.delta else ()
    return ("dv", "dk_writes", *delta, *("dh0",) * problem.initial_state)


SPEC = KernelSpec(
    name="recurrent_bwd_dv",
    template="triton/recurrent_bwd_dv",
    doc="the gradients of what tokens write, from the last token to the first.",
    equation={
        "delta": """
    n = beta (v - v_old)
    dk_writes = F n
    F <- F + scale q do^T
    dbeta = (v - v_old) . (F^T k),  dv = beta F^T k
    F <- exp(g) (F - k dv^T)
    """,
        "linear": """
    dk_writes = F v
    F <- F + scale q do^T
    dv = F^T k
    F <- exp(g) F
    """,
    },
    shared=("slice",),
    axes=WALK_AXES,
    inputs=_inputs,
    outputs=_outputs,
    scalars=("T", "scale"),
    grid=walk_grid,
    context=walk_tiles,
    refusals=walk_refusals,
    problem_defaults=walk_defaults,
)
