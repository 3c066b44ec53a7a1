"""SavedTensors: the tensors of a forward that stay in memory, and that its backward reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from gdn_ops.codegen.axis import Value
from gdn_ops.codegen.errors import InvalidConfig
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.plan import Plan
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.schedule import running
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.variant import Variant, plan_named

SAVING = {
    "inputs": "only the inputs",
    "inverse": "also the sums of the gate, gc, and the inverse A",
    "states": "also every tensor that the forward computes and the backward reads",
}
"""What stays in memory from a forward to its backward, from the least to the most."""

INVERSE = ("gc", "A")


@dataclass(frozen=True)
class SavedTensors:
    """The tensors that stay in memory from a forward to its backward, besides the inputs.

    Args:
        forward: the variant that the forward runs as.
        names: the tensors of its stages that are kept, in the order in which they are computed.
        why: the reason if there are none.
    """

    forward: Variant
    names: tuple[str, ...]
    why: str = ""


def saved_tensors_of(
    keep: str,
    forward: Variant,
    problem: Problem,
    backward: Variant,
    gradients: Problem,
    target: Target,
    *,
    fixed: bool = False,
) -> SavedTensors:
    """Choose which tensors a forward keeps for its backward, and the variant that computes them.

    If the two variants' interfaces differ, so that tensors of one have no meaning to the other, the
    forward takes the backward's interface, because the backward is the slower of the two.

    Args:
        keep: one of ``SAVING``.
        forward, problem: the variant that the forward would run as, and its problem.
        backward, gradients: the same for the backward.
        target: the device of both.
        fixed: whether the forward must run as this variant.
    """
    if keep == "inputs":
        return SavedTensors(forward, ())
    if provider := forward.provider or backward.provider:
        why = f"provider {provider} computes gradients from the inputs"
        return SavedTensors(forward, (), why)
    try:
        aligned = _aligned(forward, problem, dict(backward.interface), target)
    except InvalidConfig as error:
        return SavedTensors(forward, (), f"plan {forward.plan} has another interface: {error}")
    names = saved_names(keep, aligned, problem, backward, gradients)
    if not names:
        return SavedTensors(forward, (), _nothing_shared(forward, backward))
    if saved_names(keep, forward, problem, backward, gradients) == names:
        return SavedTensors(forward, names)
    if fixed:
        why = f"the backward reads tensors of {aligned}, and the forward must run as {forward}"
        return SavedTensors(forward, (), why)
    reasons = aligned.reasons(problem, target)
    if reasons:
        why = f"the forward cannot run as {aligned}, which the backward reads: {'; '.join(reasons)}"
        return SavedTensors(forward, (), why)
    return SavedTensors(aligned, names)


@lru_cache(maxsize=1024)
def saved_names(
    keep: str, forward: Variant, problem: Problem, backward: Variant, gradients: Problem
) -> tuple[str, ...]:
    """The tensors of a forward variant that a backward variant can read instead of computing.

    Both variants must have the stage that writes the tensor, with the same values of the interface
    axes that the stage shares, and no other stage may write it. Arguments as of
    ``saved_tensors_of``.
    """
    if keep == "inputs" or forward.provider or backward.provider:
        return ()
    here, there = _writers(forward, problem), _writers(backward, gradients)
    made = [
        name
        for name, stages in here.items()
        if len(stages) == 1 and stages == there.get(name) and (keep != "inverse" or name in INVERSE)
        if _agree(KERNELS[stages[0]], forward, backward, problem)
    ]
    read = {
        name
        for stage in running(backward, gradients, given=made)
        for name in KERNELS[stage].inputs(gradients, backward.config(stage))
    }
    return tuple(name for name in made if name in read)


def _writers(variant: Variant, problem: Problem) -> dict[str, list[str]]:
    """The stages that write each tensor."""
    writers: dict[str, list[str]] = {}
    for stage, _ in variant.stages:
        for name in KERNELS[stage].outputs(problem, variant.config(stage)):
            writers.setdefault(name, []).append(stage)
    return writers


def _agree(spec: KernelSpec, forward: Variant, backward: Variant, problem: Problem) -> bool:
    here, there = dict(forward.interface), dict(backward.interface)
    moot = ("gate_free",) if problem.rule.gate == "none" else ()
    return all(here.get(axis) == there.get(axis) for axis in spec.shared if axis not in moot)


def _aligned(
    forward: Variant, problem: Problem, interface: Mapping[str, Value], target: Target
) -> Variant:
    """The forward with the backward's interface, and those of its stages' configs that can run."""
    plan: Plan = plan_named(forward.plan)
    own = dict(forward.interface)
    shared = {axis.name: interface.get(axis.name, own[axis.name]) for axis in plan.axes}
    stages = {
        name: dict(config)
        for name, config in forward.stages
        if not KERNELS[name].reasons(problem, {**shared, **dict(config)}, target)
    }
    return Variant.of(forward.plan, problem, shared, stages)


def _nothing_shared(forward: Variant, backward: Variant) -> str:
    def made(variant: Variant) -> str:
        names = [name for name, _ in variant.stages]
        return f"{names[0]} of plan {variant.plan}" if len(names) == 1 else f"plan {variant.plan}"

    return (
        f"the forward ({made(forward)}) computes nothing that the backward ({made(backward)}) "
        "computes again"
    )
