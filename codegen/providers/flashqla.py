"""Provider flashqla: FlashQLA, in TileLang."""

from __future__ import annotations

from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.providers.provider import Provider, gpu_refusals, rule_refusals
from gdn_ops.codegen.target import Target

TITLE = "FlashQLA"
HEAD_DIM = 128
CAPABILITIES = (90, 100, 103, 120, 121)


def _refusals(problem: Problem, target: Target) -> list[str]:
    reasons = rule_refusals(TITLE, problem) + gpu_refusals(TITLE, target)
    if problem.op == "decode":
        reasons.append(f"{TITLE} has no decode")
    if (problem.K, problem.V) != (HEAD_DIM, HEAD_DIM):
        reasons.append(f"{TITLE} has K = V = {HEAD_DIM} only, not K={problem.K}, V={problem.V}")
    if problem.dtype == "fp32":
        reasons.append(f"{TITLE} takes q, k, v in bf16 or fp16, not fp32")
    if target.gpu and target.capability not in CAPABILITIES:
        known = ", ".join(f"sm_{number}" for number in CAPABILITIES)
        reasons.append(f"{TITLE} supports {known}; {target.name} is {target.arch}")
    return reasons


PROVIDER = Provider(
    name="flashqla",
    title=TITLE,
    package="flash_qla",
    distributions=("flash-qla",),
    install="flash-qla",
    refusals=_refusals,
)
