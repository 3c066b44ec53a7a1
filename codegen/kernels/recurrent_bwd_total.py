"""Stage recurrent_bwd_total: gradients that slices of V, value heads or sequences share, summed."""

from __future__ import annotations

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.tiling.token_walk import sliced


def _outputs(problem: Problem, config: Config) -> tuple[str, ...]:
    heads = ("dq", "dk") if sliced(problem, config) else ()
    gate = ("dg",) * (problem.rule.gate != "none")
    raw = ("dA_log",) * problem.gate_in_kernel + ("ddt_bias",) * problem.dt_bias
    return (*heads, *("dbeta",) * problem.rule.delta, *gate, *raw)


def _inputs(problem: Problem, config: Config) -> tuple[str, ...]:
    return tuple(f"{name}_slices" for name in _outputs(problem, config))


SPEC = KernelSpec(
    name="recurrent_bwd_total",
    template="torch/recurrent_bwd_total",
    doc="gradients shared by slices of V, value heads or sequences, summed in fp32.",
    equation="""
    dq, dk: the sum over the slices of V and over the value heads of a key head
    dbeta, dg: the sum over the slices;  dA_log, ddt_bias: and over the sequences
    """,
    shared=("slice",),
    axes=(),
    inputs=_inputs,
    outputs=_outputs,
    sums_only=True,
)
