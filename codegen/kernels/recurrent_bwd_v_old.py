"""Stage recurrent_bwd_v_old: what each token's key reads of the state, from the first token on."""

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
    initial = ("h0",) * problem.initial_state
    packed = ("cu_seqlens",) * problem.varlen
    return ("k", "v", *gate_inputs(problem), *initial, *packed)


def _outputs(problem: Problem, config: Config) -> tuple[str, ...]:
    return ("v_old",)


SPEC = KernelSpec(
    name="recurrent_bwd_v_old",
    template="triton/recurrent_bwd_v_old",
    doc="what every token's key reads of the state.",
    equation="""
    S <- exp(g) S
    v_old = S^T k
    S <- S + k (beta (v - v_old))^T
    """,
    shared=("slice",),
    axes=WALK_AXES,
    inputs=_inputs,
    outputs=_outputs,
    scalars=("T",),
    grid=walk_grid,
    context=walk_tiles,
    refusals=walk_refusals,
    problem_defaults=walk_defaults,
)
