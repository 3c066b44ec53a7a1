"""Provider fla: flash-linear-attention."""

from __future__ import annotations

from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.providers.provider import Provider, gpu_refusals, rule_refusals
from gdn_ops.codegen.target import Target

TITLE = "flash-linear-attention"


def _refusals(problem: Problem, target: Target) -> list[str]:
    # K <= 256, its limit, is ours too
    return rule_refusals(TITLE, problem) + gpu_refusals(TITLE, target)


PROVIDER = Provider(
    name="fla",
    title=TITLE,
    package="fla",
    distributions=("fla-core", "flash-linear-attention"),
    install="flash-linear-attention",
    refusals=_refusals,
    language="triton",
    rounds=True,
)
