"""Stage torch_decode: one token per sequence in plain PyTorch."""

from __future__ import annotations

from collections.abc import Mapping

from gdn_ops.codegen.axis import Axis, Config, Value
from gdn_ops.codegen.kernels.torch_chunk import rule_inputs, rule_outputs
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.reasons import same_reasons
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.target import Target

READS = Axis("reads", (1, 2), 2, "how often products read the state")
LARGE = 32 << 20
"""Bytes of all states from which another read of them takes longer than the operators it spares."""


def _inputs(problem: Problem, config: Config) -> tuple[str, ...]:
    names = rule_inputs(problem, config)
    # without a state there is nothing that decays
    unread = () if problem.initial_state else ("g", "A_log", "dt_bias")
    return tuple(name for name in names if name not in unread)


def _refusals(problem: Problem, config: Config, target: Target) -> list[str]:
    if problem.rule.delta and problem.initial_state:
        return []
    why = "without an initial state that the delta rule reads"
    return same_reasons("reads", config, READS.default, why)


def _problem_defaults(problem: Problem) -> Mapping[str, Value]:
    """Small states are in the cache, where fewer operators are faster than fewer bytes."""
    size = 4 * problem.sequences * problem.HV * problem.K * problem.V
    read = problem.rule.delta and problem.initial_state
    return {"reads": 1} if read and size >= LARGE else {}


SPEC = KernelSpec(
    name="torch_decode",
    template="torch/torch_decode",
    doc="one token per sequence in plain PyTorch.",
    equation={
        "delta": """
    S <- exp(g) S,  rows of S by key channel
    u = beta (v - k S),  S <- S + k^T u
    o = scale q S
    """,
        "linear": """
    S <- exp(g) S + k^T v,  rows of S by key channel
    o = scale q S
    """,
    },
    axes=(READS,),
    inputs=_inputs,
    outputs=rule_outputs,
    scalars=("scale",),
    refusals=_refusals,
    problem_defaults=_problem_defaults,
)
