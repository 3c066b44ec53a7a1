"""Stage torch_recurrent: the rule token by token in plain PyTorch, made for one token."""

from __future__ import annotations

from collections.abc import Mapping

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.kernels.torch_chunk import rule_inputs, rule_outputs, vector_maths
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.spec import KernelSpec

VECTOR = """
    u = beta (v - S^T (exp(g) . k))
    o = scale (S^T (exp(g) . q) + (k . q) u)
    S <- diag(exp(g)) S + k u^T
    """
VECTOR_LINEAR = """
    o = scale (S^T (exp(g) . q) + (k . q) v)
    S <- diag(exp(g)) S + k v^T
    """


def _context(problem: Problem, config: Config) -> Mapping[str, object]:
    return vector_maths(problem, VECTOR, VECTOR_LINEAR)


SPEC = KernelSpec(
    name="torch_recurrent",
    template="torch/torch_recurrent",
    doc="the rule token by token in plain PyTorch.",
    equation="""
    u = beta (v - exp(g) S^T k)
    o = scale (exp(g) S^T q + (k . q) u)
    S <- exp(g) S + k u^T
    """,
    linear="""
    o = scale (exp(g) S^T q + (k . q) v)
    S <- exp(g) S + k v^T
    """,
    axes=(),
    inputs=rule_inputs,
    outputs=rule_outputs,
    scalars=("scale",),
    context=_context,
)
