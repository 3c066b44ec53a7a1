"""Sets of configs of a stage: the default, the corners of its space, or all of them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from gdn_ops.codegen.axis import Axis, Config, Value
from gdn_ops.codegen.plan import Plan
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.target import Target


def default_configs(spec: KernelSpec, problem: Problem, plan: Plan) -> Iterator[dict[str, Value]]:
    """Only the default config for the problem."""
    yield {**plan.default(problem), **spec.default(problem)}


def corner_candidates(spec: KernelSpec, problem: Problem, plan: Plan) -> Iterator[dict[str, Value]]:
    """The default config, then each axis at each of its extremes, the others at their defaults.

    The axes are those that the stage reads. An axis of numbers has two extremes; every value of any
    other axis counts as one.
    """
    (default,) = default_configs(spec, problem, plan)
    yield default
    for axis in _axes(spec, plan):
        numbers = all(type(value) is int for value in axis.values)
        extremes = (axis.values[0], axis.values[-1]) if numbers else axis.values
        for value in dict.fromkeys(extremes):
            if value != default[axis.name]:
                yield {**default, axis.name: value}


def all_configs(spec: KernelSpec, problem: Problem, plan: Plan) -> Iterator[dict[str, Value]]:
    """Every combination of the values of the axes the stage reads."""
    (default,) = default_configs(spec, problem, plan)
    axes = _axes(spec, plan)
    for values in product(*(axis.values for axis in axes)):
        yield {**default, **{axis.name: v for axis, v in zip(axes, values, strict=True)}}


CONFIG_SETS = {"default": default_configs, "corners": corner_candidates, "all": all_configs}


def corner_configs(
    spec: KernelSpec, problem: Problem, plan: Plan, target: Target
) -> list[dict[str, Value]]:
    """The corner candidates that plan and stage can run."""
    candidates = corner_candidates(spec, problem, plan)
    return [config for config in candidates if not refusals(spec, problem, plan, config, target)]


def refusals(
    spec: KernelSpec, problem: Problem, plan: Plan, config: Config, target: Target
) -> list[str]:
    """Why the plan or the stage cannot run a config; empty if both can."""
    interface = {axis.name: config[axis.name] for axis in plan.axes}
    reasons = plan.reasons(problem, interface, target) + spec.reasons(problem, config, target)
    return list(dict.fromkeys(reasons))


def _axes(spec: KernelSpec, plan: Plan) -> list[Axis]:
    return [axis for axis in plan.axes if axis.name in spec.shared] + list(spec.axes)
