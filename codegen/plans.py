"""Every plan by name, in the order of preference where nothing was measured."""

from __future__ import annotations

from gdn_ops.codegen.axis import Axis, Config, defaults
from gdn_ops.codegen.plan import Plan
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target


def _rule_reasons(name: str, problem: Problem) -> list[str]:
    rule = problem.rule
    if rule.gate == "vector":
        return [f"plan {name} computes rules whose gate is none or scalar, not {rule.name}"]
    if problem.op == "pool" and not rule.delta:
        return [f"plan {name} computes delta rules on a pool of states, not {rule.name}"]
    return []


def _kernel_reasons(name: str, problem: Problem, target: Target) -> list[str]:
    reasons = _rule_reasons(name, problem)
    if not target.gpu:
        reasons.append(f"plan {name} is made of Triton kernels and target {target.name} is no GPU")
    return reasons


def _split_stages(problem: Problem) -> tuple[str, ...]:
    gated = problem.rule.gate != "none"
    solved = ("solve", "wu") if problem.rule.delta else ()
    forward = (*(("gate_cumsum",) if gated else ()), *solved, "state")
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
    usual = defaults(PLANS[name].axes)["gate_free"]
    if problem.rule.gate == "none" and interface["gate_free"] != usual:
        reasons.append(f"gate_free={not usual} is the same as gate_free={usual} without a gate")
    elif not problem.rule.delta and interface["gate_free"] != usual:
        reasons.append(f"gate_free={not usual} is the same as gate_free={usual} without the delta")
    return reasons


def _split_reasons(problem: Problem, interface: Config, target: Target) -> list[str]:
    return _chunk_reasons("split", problem, interface, target)


def _fused_stages(problem: Problem) -> tuple[str, ...]:
    return (*(("gate_cumsum",) if problem.rule.gate != "none" else ()), "solve", "scan")


def _fused_reasons(problem: Problem, interface: Config, target: Target) -> list[str]:
    reasons = _chunk_reasons("fused", problem, interface, target)
    if not problem.rule.delta:
        reasons.append(f"plan fused computes the delta rule, not {problem.rule.name}")
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


BT = Axis("BT", (16, 32, 64, 128), 64, "tokens in a chunk")
STORE = Axis("store", ("io", "fp32"), "io", "element type of what stages exchange")

PLANS: dict[str, Plan] = {
    plan.name: plan
    for plan in (
        Plan(
            name="split",
            doc="one kernel a step of the chunkwise form, or of its gradients",
            axes=(
                BT,
                STORE,
                Axis("gate_free", (True, False), True, "A without the decay in it"),
            ),
            stages=_split_stages,
            refusals=_split_reasons,
        ),
        Plan(
            name="fused",
            doc="one walk over the chunks for outputs and state; forward only",
            # every slice of V would put the decay into A again, one by one in the walk over chunks
            axes=(
                BT,
                STORE,
                Axis("gate_free", (True, False), False, "A without the decay in it"),
            ),
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
