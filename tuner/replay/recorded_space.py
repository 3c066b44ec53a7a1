"""Recorded space: every config of a kernel's search space with the time it took, or none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite

from gdn_ops.codegen.axis import Axis, Config, Value
from gdn_ops.codegen.errors import InvalidInput, shown
from gdn_ops.tuner.store.records import Outcome
from gdn_ops.tuner.strategies.search_space import Point

LARGEST_VALUE = 2**53
"""Largest integer of an axis; up to here a float holds every integer."""
MOST_MILLISECONDS = 1e12
FAILED = Outcome(status="crash", message="recorded as failed")


@dataclass(frozen=True)
class RecordedSpace:
    """A search space whose configs were all tried once.

    Args:
        name: of the file, without its suffixes.
        kernel: what was tuned; spaces of the same kernel share their winners. Empty if the file
            does not say.
        axes: the parameters that have more than one value.
        outcomes: by point, in the order of the file. Configs that are not in it are not valid.
    """

    name: str
    kernel: str
    axes: tuple[Axis, ...]
    outcomes: Mapping[Point, Outcome]

    @classmethod
    def of(
        cls, name: str, kernel: str, rows: Sequence[tuple[Mapping[str, object], object]]
    ) -> RecordedSpace:
        """A space from its configs, each with its time in ms. What is no number, such as the name
        of an error, stands for a failure.

        Raises:
            InvalidInput: no config has a time, configs differ in their parameters, or a value or
                time cannot be used.
        """
        if not rows:
            raise InvalidInput("it has no configurations")
        names = list(rows[0][0])
        columns: dict[str, list[Value]] = {parameter: [] for parameter in names}
        for config, _ in rows:
            if set(config) != set(names):
                raise InvalidInput(
                    f"configuration {shown(dict(config))} does not have the parameters "
                    f"{', '.join(names)}"
                )
            for parameter in names:
                columns[parameter].append(_value(parameter, config[parameter]))
        axes = tuple(_axis(parameter, values) for parameter, values in columns.items())
        varying = tuple(axis for axis in axes if len(axis.values) > 1)
        outcomes = {
            tuple(columns[axis.name][i] for axis in varying): _outcome(milliseconds)
            for i, (_, milliseconds) in enumerate(rows)
        }
        if all(outcome.median is None for outcome in outcomes.values()):
            raise InvalidInput("none of its configurations has a time")
        return cls(name, kernel, varying, outcomes)

    @cached_property
    def configs(self) -> tuple[Config, ...]:
        names = [axis.name for axis in self.axes]
        return tuple(dict(zip(names, point, strict=True)) for point in self.outcomes)

    @cached_property
    def optimum(self) -> float:
        """The shortest recorded time in seconds."""
        return min(o.median for o in self.outcomes.values() if o.median is not None)

    def point(self, config: Config) -> Point:
        return tuple(config[axis.name] for axis in self.axes)

    def is_valid(self, config: Config) -> bool:
        return self.point(config) in self.outcomes

    def reasons(self, config: Config) -> list[str]:
        return [] if self.is_valid(config) else ["the configuration is not recorded"]

    def outcome(self, config: Config) -> Outcome:
        return self.outcomes[self.point(config)]

    def best(self, count: int) -> list[Config]:
        """The fastest configs, fastest first."""
        timed = [(o.median, i) for i, o in enumerate(self.outcomes.values()) if o.median]
        return [self.configs[i] for _, i in sorted(timed)[:count]]


def _value(name: str, value: object) -> Value:
    """An axis value; a number that is no integer becomes its text."""
    if isinstance(value, float) and isfinite(value):
        value = int(value) if value.is_integer() else repr(value)
    if isinstance(value, int) and abs(value) > LARGEST_VALUE:
        raise InvalidInput(f"{name} is {shown(value)}; an integer must be within +-{LARGEST_VALUE}")
    if not isinstance(value, bool | int | str):
        raise InvalidInput(f"{name} is {shown(value)}; it must be a number, text or true or false")
    return value


def _axis(name: str, values: Sequence[Value]) -> Axis:
    unique = list(dict.fromkeys(values))
    if all(isinstance(value, int) for value in unique):
        unique.sort(key=int)
    return Axis(name, tuple(unique), unique[0], name)


def _outcome(milliseconds: object) -> Outcome:
    if isinstance(milliseconds, bool) or not isinstance(milliseconds, int | float):
        return FAILED
    if not 0 < milliseconds <= MOST_MILLISECONDS:
        raise InvalidInput(
            f"a time is {shown(milliseconds)} ms; it must be > 0 and <= {MOST_MILLISECONDS:.0e}"
        )
    return Outcome(status="ok", median=milliseconds * 1e-3)
