"""Stage torch_recurrent: the rule token by token in plain PyTorch, meant for one token."""

from __future__ import annotations

from gdn_ops.codegen.kernels.torch_chunk import rule_inputs, rule_outputs
from gdn_ops.codegen.spec import KernelSpec

SPEC = KernelSpec(
    name="torch_recurrent",
    template="torch/torch_recurrent",
    doc="the rule token by token in plain PyTorch.",
    equation={
        "delta": """
    u = beta (v - exp(g) S^T k)
    o = scale (exp(g) S^T q + (k . q) u)
    S <- exp(g) S + k u^T
    """,
        "linear": """
    o = scale (exp(g) S^T q + (k . q) v)
    S <- exp(g) S + k v^T
    """,
        "vector-delta": """
    u = beta (v - S^T (exp(g) . k))
    o = scale (S^T (exp(g) . q) + (k . q) u)
    S <- diag(exp(g)) S + k u^T
    """,
        "vector-linear": """
    o = scale (S^T (exp(g) . q) + (k . q) v)
    S <- diag(exp(g)) S + k v^T
    """,
    },
    axes=(),
    inputs=rule_inputs,
    outputs=rule_outputs,
    scalars=("scale",),
)
