"""Every plan by name, in the order of preference where nothing was measured."""

from __future__ import annotations

from gdn_ops.codegen.axis import Axis, Config
from gdn_ops.codegen.plan import Plan
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target


def _rule_reasons(name: str, problem: Problem) -> list[str]:
    rule = problem.rule
    if rule.delta and rule.gate != "vector":
        return []
    return [f"plan {name} computes the gated and the ungated delta rule, not {rule.name}"]


def _kernel_reasons(name: str, problem: Problem, target: Target) -> list[str]:
    reasons = _rule_reasons(name, problem)
    if not target.gpu:
        reasons.append(f"plan {name} is made of Triton kernels and target {target.name} is no GPU")
    if problem.grad:
        reasons.append(f"plan {name} has no backward yet and a gradient is asked for")
    return reasons


def _split_stages(problem: Problem) -> tuple[str, ...]:
    gate = () if problem.rule.gate == "none" else ("gate_cumsum",)
    return (*gate, "solve", "wu", "state", "output")


def _split_reasons(problem: Problem, interface: Config, target: Target) -> list[str]:
    reasons = _kernel_reasons("split", problem, target)
    if problem.op == "decode":
        reasons.append("plan split works on chunks of tokens and decode has one token a sequence")
    if problem.rule.gate == "none" and not interface["gate_free"]:
        reasons.append("gate_free=False is the same as gate_free=True without a gate")
    return reasons


def _recurrent_reasons(problem: Problem, interface: Config, target: Target) -> list[str]:
    return _kernel_reasons("recurrent", problem, target)


def _torch_stages(problem: Problem) -> tuple[str, ...]:
    return ("torch_recurrent",) if problem.op == "decode" else ("torch_chunk",)


def _torch_reasons(problem: Problem, interface: Config, target: Target) -> list[str]:
    return _rule_reasons("torch", problem)


PLANS: dict[str, Plan] = {
    plan.name: plan
    for plan in (
        Plan(
            name="split",
            doc="one kernel a step of the chunkwise form; intermediates through memory",
            axes=(
                Axis("BT", (16, 32, 64, 128), 64, "tokens in a chunk"),
                Axis("store", ("io", "fp32"), "io", "element type of A, w, u, h, v_new"),
                Axis("gate_free", (True, False), True, "A without the decay in it"),
            ),
            stages=_split_stages,
            refusals=_split_reasons,
        ),
        Plan(
            name="recurrent",
            doc="token by token with the state in registers; also decode",
            axes=(),
            stages=lambda problem: ("recurrent",),
            refusals=_recurrent_reasons,
        ),
        Plan(
            name="torch",
            doc="plain PyTorch, chunkwise (token by token to decode), on any device",
            axes=(),
            stages=_torch_stages,
            refusals=_torch_reasons,
        ),
    )
}
