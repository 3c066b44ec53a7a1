"""Axis values that the command line gives as AXIS=VALUE."""

from __future__ import annotations

from collections.abc import Iterable

from gdn_ops.codegen.axis import Axis, Value
from gdn_ops.codegen.errors import InvalidConfig, InvalidInput, UnknownName, shown
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
    homes = {spec.name: spec.axes for spec in definition.specs(problem)}
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
            if stage in ("", home) and axis in (a.name for a in axes):
                stages[home][axis], found = _value(axes, axis, text), True
        if not stage and axis in (a.name for a in definition.axes):
            interface[axis], found = _value(definition.axes, axis, text), True
        if not found:
            known = {a.name for axes in (definition.axes, *homes.values()) for a in axes}
            raise UnknownName.of(f"axis of plan {plan}", name, known)
    return Variant.of(plan, problem, interface, stages)


def _value(axes: Iterable[Axis], name: str, text: str) -> Value:
    axis = next(a for a in axes if a.name == name)
    for value in axis.values:
        if str(value) == text:
            return value
    allowed = ", ".join(map(str, axis.values))
    raise InvalidConfig(
        f"{name}={shown(text)} is not a value of that axis; choose one of {allowed}."
    )
