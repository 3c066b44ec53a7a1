"""Plan cpp: C++ that is compiled on the CPU which runs it."""

from __future__ import annotations

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.plan import Plan
from gdn_ops.codegen.plans.refusal import rule_reasons
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target

MEASURED = ("avx2", "avx512", "avx512-bf16", "amx-bf16")
"""Architectures of CPUs whose instructions it was faster with than plan torch."""
WORTHWHILE = 1 << 27
"""Elements of states times tokens from which a call takes longer than 10 ms in plan torch."""


def _stages(problem: Problem) -> tuple[str, ...]:
    return ("cpp_backward" if problem.op == "backward" else "cpp_chunk",)


def _refusals(problem: Problem, interface: Config, target: Target) -> list[str]:
    reasons = rule_reasons("cpp", problem)
    if target.gpu:
        reasons.append(f"plan cpp is C++ for a CPU and target {target.name} is a GPU")
    if not problem.rule.delta:
        reasons.append(f"plan cpp computes the delta rule, not {problem.rule.name}")
    if problem.op not in ("forward", "backward"):
        reasons.append(f"plan cpp has no {problem.op}; plan torch has one")
    return list(dict.fromkeys(reasons))


def _unasked(problem: Problem, target: Target) -> list[str]:
    reasons = []
    if target.arch not in MEASURED:
        reasons.append(f"nobody has measured it on a CPU like {target.name}")
    if problem.tokens * problem.HV * problem.K * problem.V < WORTHWHILE:
        reasons.append("compiling takes a second, more than a call this small can save")
    asked = "it runs where it was tuned, or with gdn_ops.using('cpp')"
    return [*reasons, asked] if reasons else []


PLAN = Plan(
    name="cpp",
    doc="C++ compiled on this machine, for CPUs: each head in one core's cache",
    axes=(),
    stages=_stages,
    refusals=_refusals,
    unasked=_unasked,
)
