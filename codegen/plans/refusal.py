"""Why a plan cannot run a problem, as far as plans have it in common."""

from __future__ import annotations

from collections.abc import Sequence

from gdn_ops.codegen.axis import Axis, Config, defaults
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target


def rule_reasons(plan: str, problem: Problem, *, vector: bool = False) -> list[str]:
    """Rules that no kernel of a plan computes; ``vector``: it has vector gates for this op."""
    rule = problem.rule
    if rule.gate == "vector" and not vector:
        return [f"plan {plan} computes rules whose gate is none or scalar, not {rule.name}"]
    if problem.op == "pool" and not rule.delta:
        return [f"plan {plan} computes delta rules on a pool of states, not {rule.name}"]
    return []


def kernel_reasons(
    plan: str, problem: Problem, target: Target, *, vector: bool = False
) -> list[str]:
    """Rules and targets that no plan of Triton kernels runs; ``vector`` as in ``rule_reasons``."""
    reasons = rule_reasons(plan, problem, vector=vector)
    if not target.gpu:
        reasons.append(f"plan {plan} is made of Triton kernels and target {target.name} is no GPU")
    return reasons


def chunk_reasons(
    plan: str,
    axes: Sequence[Axis],
    problem: Problem,
    interface: Config,
    target: Target,
    *,
    vector: bool = False,
) -> list[str]:
    """Problems that no plan of kernels on chunks runs, and interfaces that come to another's.

    ``vector`` as in ``rule_reasons``.
    """
    reasons = kernel_reasons(plan, problem, target, vector=vector)
    if problem.op == "decode":
        reasons.append(f"plan {plan} works on chunks of tokens and decode has one token a sequence")
    if problem.op == "pool":
        reasons.append(f"plan {plan} works on chunks of tokens and a pool's sequences have a few")
    usual = defaults(axes).get("gate_free")
    if usual is None:
        return reasons
    if problem.rule.gate == "none" and interface["gate_free"] != usual:
        reasons.append(f"gate_free={not usual} is the same as gate_free={usual} without a gate")
    elif problem.rule.gate == "vector" and interface["gate_free"] != usual:
        reasons.append(f"gate_free={not usual} is the same as gate_free={usual} of a vector gate")
    elif not problem.rule.delta and interface["gate_free"] != usual:
        reasons.append(f"gate_free={not usual} is the same as gate_free={usual} without the delta")
    return reasons
