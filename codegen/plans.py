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
    return reasons


def _split_stages(problem: Problem) -> tuple[str, ...]:
    gated = problem.rule.gate != "none"
    forward = (*(("gate_cumsum",) if gated else ()), "solve", "wu", "state")
    if problem.op != "backward":
        return (*forward, "output")
    total = problem.group > 1 or problem.gate_in_kernel
    gate = ("dgate",) if gated else ()
    return (*forward, "dlocal", "dstate", "grads", *gate, *(("total",) if total else ()))


def _chunk_reasons(name: str, problem: Problem, interface: Config, target: Target) -> list[str]:
    reasons = _kernel_reasons(name, problem, target)
    if problem.op == "decode":
        reasons.append(f"plan {name} works on chunks of tokens and decode has one token a sequence")
    if problem.op == "pool":
        reasons.append(f"plan {name} works on chunks of tokens and a pool's sequences have a few")
    if problem.rule.gate == "none" and not interface["gate_free"]:
        reasons.append("gate_free=False is the same as gate_free=True without a gate")
    return reasons


def _split_reasons(problem: Problem, interface: Config, target: Target) -> list[str]:
    return _chunk_reasons("split", problem, interface, target)


def _fused_stages(problem: Problem) -> tuple[str, ...]:
    return (*(("gate_cumsum",) if problem.rule.gate != "none" else ()), "solve", "scan")


def _fused_reasons(problem: Problem, interface: Config, target: Target) -> list[str]:
    reasons = _chunk_reasons("fused", problem, interface, target)
    if problem.op == "backward":
        reasons.append("plan fused has no backward yet; plan split has one")
    return reasons


def _recurrent_stages(problem: Problem) -> tuple[str, ...]:
    return ("pool_decode",) if problem.op == "pool" else ("recurrent",)


def _recurrent_reasons(problem: Problem, interface: Config, target: Target) -> list[str]:
    reasons = _kernel_reasons("recurrent", problem, target)
    if problem.op == "backward":
        reasons.append("plan recurrent has no backward yet; plan split has one")
    return reasons


def _torch_stages(problem: Problem) -> tuple[str, ...]:
    stages = {
        "decode": "torch_recurrent",
        "forward": "torch_chunk",
        "backward": "torch_backward",
        "pool": "torch_pool",
    }
    return (stages[problem.op],)


def _torch_reasons(problem: Problem, interface: Config, target: Target) -> list[str]:
    return _rule_reasons("torch", problem)


CHUNK_AXES = (
    Axis("BT", (16, 32, 64, 128), 64, "tokens in a chunk"),
    Axis("store", ("io", "fp32"), "io", "element type of what stages exchange"),
    Axis("gate_free", (True, False), True, "A without the decay in it"),
)

PLANS: dict[str, Plan] = {
    plan.name: plan
    for plan in (
        Plan(
            name="split",
            doc="one kernel a step of the chunkwise form, or of its gradients",
            axes=CHUNK_AXES,
            stages=_split_stages,
            refusals=_split_reasons,
        ),
        Plan(
            name="fused",
            doc="one walk over the chunks for outputs and state; forward only",
            axes=CHUNK_AXES,
            stages=_fused_stages,
            refusals=_fused_reasons,
        ),
        Plan(
            name="recurrent",
            doc="token by token with the state in registers; also decode, and on a pool of states",
            axes=(),
            stages=_recurrent_stages,
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
