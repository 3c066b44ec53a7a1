"""Provider transformers: its rule in plain PyTorch, which runs on any device."""

from __future__ import annotations

from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.providers.provider import Provider, rule_refusals
from gdn_ops.codegen.target import Target

TITLE = "transformers"


def _refusals(problem: Problem, target: Target) -> list[str]:
    reasons = rule_refusals(TITLE, problem)
    if problem.varlen:
        reasons.append(f"{TITLE}' PyTorch code ignores the ends of packed sequences")
    return reasons


PROVIDER = Provider(
    name="transformers",
    title=TITLE,
    package="transformers",
    distributions=("transformers",),
    install="transformers",
    refusals=_refusals,
    language="torch",
)
