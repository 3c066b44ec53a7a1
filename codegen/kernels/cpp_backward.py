"""Stage cpp_backward: the gradients of the delta rule in C++, compiled on the CPU that runs it."""

from __future__ import annotations

from collections.abc import Mapping

from gdn_ops.codegen.axis import Config, Value
from gdn_ops.codegen.kernels.cpp_chunk import BT, TILE, cpp_context, cpp_refusals
from gdn_ops.codegen.kernels.torch_backward import SPEC as BACKWARD
from gdn_ops.codegen.kernels.torch_chunk import DOT
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.target import Target


def _refusals(problem: Problem, config: Config, target: Target) -> list[str]:
    return cpp_refusals("cpp_backward", problem, config, target)


def _problem_defaults(problem: Problem) -> Mapping[str, Value]:
    """Fp32 products need more rows per load."""
    return {} if problem.dtype == "bf16" else {"tile": "8x2"}


SPEC = KernelSpec(
    name="cpp_backward",
    template="torch/cpp_backward",
    doc="the gradients of the delta rule in C++, each query head in one core's cache.",
    equation=BACKWARD.equation,
    axes=(BT, TILE, DOT),
    inputs=BACKWARD.inputs,
    outputs=BACKWARD.outputs,
    scalars=BACKWARD.scalars,
    context=cpp_context,
    refusals=_refusals,
    problem_defaults=_problem_defaults,
    cpp=True,
)
