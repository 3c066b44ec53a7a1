"""Provider flashinfer: FlashInfer's prefill, in CuTe-DSL and C++."""

from __future__ import annotations

from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.providers.provider import Provider, gpu_refusals, rule_refusals
from gdn_ops.codegen.target import Target

TITLE = "FlashInfer"
HEAD_DIM = 128
LEAST_CAPABILITY = 80
LOGIT = f"{TITLE} decodes with beta as a logit, so below 1; beta of a call may be up to 2"
"""Why it is called for no decode of ours, though it has one."""


def _refusals(problem: Problem, target: Target) -> list[str]:
    reasons = rule_refusals(TITLE, problem) + gpu_refusals(TITLE, target)
    if problem.op == "backward":
        reasons.append(f"{TITLE} has no gradients")
    if problem.op == "decode":
        reasons.append(LOGIT)
    if (problem.K, problem.V) != (HEAD_DIM, HEAD_DIM):
        reasons.append(f"{TITLE} has K = V = {HEAD_DIM} only, not K={problem.K}, V={problem.V}")
    if problem.dtype == "fp32":
        reasons.append(f"{TITLE} takes q, k, v in bf16 or fp16, not fp32")
    if target.gpu and target.capability < LEAST_CAPABILITY:
        reasons.append(
            f"{TITLE} supports sm_{LEAST_CAPABILITY} and newer; {target.name} is {target.arch}"
        )
    return reasons


PROVIDER = Provider(
    name="flashinfer",
    title=TITLE,
    package="flashinfer",
    distributions=("flashinfer-python",),
    install="'flashinfer-python[cu13]'",
    refusals=_refusals,
)
