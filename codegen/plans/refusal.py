"""Reasons that several plans share for not running a problem."""

from __future__ import annotations

from collections.abc import Sequence

from gdn_ops.codegen.axis import Axis, Config, defaults
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.reasons import same_reasons
from gdn_ops.codegen.target import Target


def rule_reasons(plan: str, problem: Problem, *, vector: bool = False) -> list[str]:
    """Refuse rules that a plan does not compute.

    Args:
        plan: its name.
        vector: whether the plan supports vector gates for the problem's op.
    """
    rule = problem.rule
    if rule.gate == "vector" and not vector:
        return [f"plan {plan} computes rules whose gate is none or scalar, not {rule.name}"]
    if problem.op == "pool" and not rule.delta:
        return [f"plan {plan} computes delta rules on a pool of states, not {rule.name}"]
    return []


def kernel_reasons(
    plan: str, problem: Problem, target: Target, *, vector: bool = False
) -> list[str]:
    """Refuse rules and targets that a plan of kernels does not run.

    Arguments as of ``rule_reasons``.
    """
    reasons = rule_reasons(plan, problem, vector=vector)
    if not target.gpu:
        reasons.append(gpu_reason(plan, target))
    return reasons


def gpu_reason(plan: str, target: Target) -> str:
    """Why a plan of kernels, in Triton or Gluon, does not run on a target that is no GPU."""
    return f"plan {plan} is made of GPU kernels and target {target.name} is not a GPU"


def chunk_reasons(
    plan: str,
    axes: Sequence[Axis],
    problem: Problem,
    interface: Config,
    target: Target,
    *,
    vector: bool = False,
) -> list[str]:
    """Refuse problems that a plan of kernels on chunks does not run, and redundant interfaces.

    Args:
        axes: the plan's interface axes.
        plan, vector: as of ``rule_reasons``.
    """
    reasons = kernel_reasons(plan, problem, target, vector=vector)
    if problem.op == "decode":
        reasons.append(f"plan {plan} works on chunks and decode has one token per sequence")
    if problem.op == "pool":
        reasons.append(f"plan {plan} works on chunks and op pool has a few tokens per sequence")
    usual = defaults(axes).get("gate_free")
    if usual is None:
        return reasons
    if problem.rule.gate == "scalar" and problem.rule.delta:
        return reasons
    why = {"none": "without a gate", "vector": "with a vector gate"}.get(
        problem.rule.gate, "without the delta"
    )
    return reasons + same_reasons("gate_free", interface, usual, why)
