"""Axis values that the command line gives as AXIS=VALUE."""

from __future__ import annotations

from collections.abc import Iterable

from gdn_ops.codegen.axis import Value
from gdn_ops.codegen.errors import InvalidInput, UnknownName, shown
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.variant import Variant, plan_named


def variant_with(plan: str, problem: Problem, settings: Iterable[str]) -> Variant:
    """The plan's default variant with some axes set: ``BT=64``, or ``chunk_h.BV=32`` for one stage.

    Raises:
        InvalidInput: a setting does not have that form.
        UnknownName: the plan, stage or axis does not exist.
        InvalidConfig: the axis has no such value.
    """
    definition = plan_named(plan)
    shared = {axis.name: axis for axis in definition.axes}
    homes = {
        spec.name: {axis.name: axis for axis in spec.axes} for spec in definition.specs(problem)
    }
    interface: dict[str, Value] = {}
    stages: dict[str, dict[str, Value]] = {name: {} for name in homes}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise InvalidInput(f"{shown(setting)} is not AXIS=VALUE; write e.g. BT=64.")
        stage, _, axis = name.rpartition(".")
        if stage and stage not in homes:
            raise UnknownName.of(f"stage of plan {plan}", stage, homes)
        found = False
        for home, axes in homes.items():
            if stage in ("", home) and axis in axes:
                stages[home][axis], found = axes[axis].read(text), True
        if not stage and axis in shared:
            interface[axis], found = shared[axis].read(text), True
        if not found:
            known = {name for axes in (shared, *homes.values()) for name in axes}
            raise UnknownName.of(f"axis of plan {plan}", name, known)
    return Variant.of(plan, problem, interface, stages)
