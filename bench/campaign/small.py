"""Run one small call of each plan, short enough for a slow checker of memory accesses."""

from __future__ import annotations

from dataclasses import replace

import torch

from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.variant import Variant
from gdn_ops.dispatch.device import target_of
from gdn_ops.inputs.rule_inputs import Layout, random_call
from gdn_ops.launch.bind import bind
from gdn_ops.tuner.report import console

FORWARD = Problem(
    op="forward", H=2, HV=4, K=128, V=128, dtype="bf16", tokens=300, sequences=3, varlen=True,
    initial_state=True, final_state=True,
)  # fmt: skip
ODD = replace(FORWARD, K=60, V=100, varlen=False, tokens=74, sequences=2)
PROBLEMS = (
    FORWARD,
    ODD,
    replace(FORWARD, op="backward"),
    replace(ODD, op="backward"),
    replace(FORWARD, op="decode", tokens=3, varlen=False),
)
SEGMENTED = 2100
"""Tokens with which plans on segments have more than one segment."""


def main() -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    target = target_of(device)
    count = 0
    for problem in PROBLEMS:
        for plan in PLANS:
            if plan in ("segmented", "segmented_sm90") and problem.op != "decode":
                problem = replace(problem, tokens=SEGMENTED)
            variant = Variant.default(plan, problem)
            if variant.reasons(problem, target):
                continue
            call = random_call(problem, device=device, layout=Layout.of(problem))
            launcher = bind(problem, variant)
            with torch.no_grad():
                launcher.gradients(call) if problem.op == "backward" else launcher(call)
            count += 1
    if device.type == "cuda":
        torch.cuda.synchronize()
    console.say(f"{count} calls ran on {target.name}")


if __name__ == "__main__":
    main()
