"""Stage torch_pool: a few tokens per sequence on states in slots of a pool, in plain PyTorch."""

from __future__ import annotations

from collections.abc import Mapping

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.kernels.pool_decode import pool_context, pool_inputs, pool_outputs
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.spec import KernelSpec

CACHED = 2**20
"""Bytes of states that are updated together, so that they stay in a cache."""


def _inputs(problem: Problem, config: Config) -> tuple[str, ...]:
    packed = ("offsets",) if problem.varlen else ()
    return (*pool_inputs(problem, config), *packed)


def _context(problem: Problem, config: Config) -> Mapping[str, object]:
    state = 4 * problem.HV * problem.K * problem.V
    return {"ROWS": max(1, CACHED // state), **pool_context(problem, config)}


SPEC = KernelSpec(
    name="torch_pool",
    template="torch/torch_pool",
    doc="tokens on states in slots of a pool, in place, in plain PyTorch.",
    equation="""
    u = beta (v - exp(g) S^T k)
    o = scale (exp(g) S^T q + (k . q) u)
    S <- exp(g) S + k u^T
    """,
    axes=(),
    inputs=_inputs,
    outputs=pool_outputs,
    scalars=("scale",),
    context=_context,
)
