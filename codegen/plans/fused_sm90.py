"""Plan fused_sm90: plan fused for Hopper, with its walks in Gluon."""

from __future__ import annotations

from gdn_ops.codegen.axes import gate_free
from gdn_ops.codegen.axis import Axis, Config
from gdn_ops.codegen.gluon import gluon_reasons
from gdn_ops.codegen.kernels import scan_sm90
from gdn_ops.codegen.plan import Plan
from gdn_ops.codegen.plans.refusal import chunk_reasons
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target

AXES = (
    Axis("BT", (64,), 64, "tokens per chunk"),
    Axis("store", ("io",), "io", "dtype of tensors between stages: that of q"),
    gate_free(False),
)


def stages_of(problem: Problem, arch: str) -> tuple[str, ...]:
    """The stages of a plan whose stages in Gluon have names that end in ``arch``."""
    if problem.op != "backward":
        return ("gate_solve", f"scan_{arch}")
    total = ("bwd_total",) if problem.group > 1 or problem.gate_in_kernel else ()
    return ("gate_solve", f"bwd_walks_{arch}", f"bwd_grads_{arch}", *total)


def reasons_of(
    plan: str, archs: tuple[str, ...], problem: Problem, interface: Config, target: Target
) -> list[str]:
    """Why such a plan cannot run a problem; empty if it can."""
    reasons = chunk_reasons(plan, AXES, problem, interface, target)
    if target.gpu:
        reasons += gluon_reasons(plan, archs, target)
    reasons += scan_sm90.tile_reasons(plan, problem)
    if problem.op == "backward" and interface["gate_free"]:
        reasons.append(f"the backward of {plan} reads A with the decay; use gate_free=False")
    if not problem.rule.delta:
        reasons.append(f"plan {plan} computes the delta rule, not {problem.rule.name}")
    return reasons


def _stages(problem: Problem) -> tuple[str, ...]:
    return stages_of(problem, "sm90")


def _refusals(problem: Problem, interface: Config, target: Target) -> list[str]:
    return reasons_of("fused_sm90", scan_sm90.SPEC.archs, problem, interface, target)


PLAN = Plan(
    name="fused_sm90",
    doc="plan fused for Hopper GPUs: its walks in Gluon, for K = V = 64 or 128 of 16 bits",
    axes=AXES,
    stages=_stages,
    refusals=_refusals,
    verified=False,
)
