"""Provider: an installed library that computes a problem in place of our kernels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target

Refusals = Callable[[Problem, Target], list[str]]


@dataclass(frozen=True, kw_only=True)
class Provider:
    """A library that a user may have installed; gdn-ops never needs it.

    The module of the same name in ``gdn_ops/providers`` calls it.

    Args:
        name: what users and the database call it, e.g. ``fla``.
        title: what its authors call it.
        package: the name under which it is imported.
        distributions: its distributions in the order in which they are asked for the version.
        install: what ``pip install`` installs it.
        refusals: reasons why it cannot compute a problem on a target; empty if it can.
        language: ``triton`` or ``torch`` if its times depend on the version of that package too;
            else empty.
        rounds: whether it multiplies float32 with the 11 significant bits of tf32 or fewer.
    """

    name: str
    title: str
    package: str
    distributions: tuple[str, ...]
    install: str
    refusals: Refusals
    language: str = ""
    rounds: bool = False


def rule_refusals(title: str, problem: Problem) -> list[str]:
    """Refuse the ops and rules that no provider is called for."""
    if problem.op == "pool":
        return [f"{title} is not called on pools of states, op pool"]
    if (problem.rule.gate, problem.rule.delta) != ("scalar", True):
        return [f"{title} is called for the gated delta rule only, not for {problem.rule.name}"]
    return []


def gpu_refusals(title: str, target: Target) -> list[str]:
    """Refuse what is no GPU."""
    if target.gpu:
        return []
    return [f"{title} has kernels for GPUs only, and target {target.name} is not one"]
