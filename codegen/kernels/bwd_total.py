"""Stage bwd_total: gradients that value heads or chunks share, summed from their parts."""

from __future__ import annotations

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.spec import KernelSpec


def _inputs(problem: Problem, config: Config) -> tuple[str, ...]:
    heads = ("dq_heads", "dk_heads") if problem.group > 1 else ()
    raw = ("dA_log_chunks",) * problem.gate_in_kernel + ("ddt_bias_chunks",) * problem.dt_bias
    return (*heads, *raw)


def _outputs(problem: Problem, config: Config) -> tuple[str, ...]:
    heads = ("dq", "dk") if problem.group > 1 else ()
    raw = ("dA_log",) * problem.gate_in_kernel + ("ddt_bias",) * problem.dt_bias
    return (*heads, *raw)


SPEC = KernelSpec(
    name="bwd_total",
    template="torch/bwd_total",
    doc="the gradients that value heads or chunks share, summed in fp32.",
    equation="""
    dq, dk of a key head: the sum over its value heads
    dA_log, ddt_bias: the sum over all chunks
    """,
    shared=("BT", "store"),
    axes=(),
    inputs=_inputs,
    outputs=_outputs,
    sums_only=True,
)
