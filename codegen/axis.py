"""Axis: one tunable choice, and Config: a value for each axis."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gdn_ops.codegen.errors import InvalidConfig, UnknownName, shown

Value = int | str | bool
Config = Mapping[str, Value]


@dataclass(frozen=True)
class Axis:
    """One tunable choice.

    Args:
        name: the template's constant (``BT``), or lower case for a launch option (``num_warps``).
        values: every value the axis may take, in natural order.
        default: the conservative value, used if nothing was measured.
        doc: what the choice is about, in a phrase.
        launch: whether the value goes to Triton's launcher instead of the template.
        precision: whether the value is the precision of matrix products: ``ieee`` (fp32),
            ``tf32``, ``tf32x3`` and the like, or ``native`` (operands in the problem's dtype).
    """

    name: str
    values: tuple[Value, ...]
    default: Value
    doc: str
    launch: bool = False
    precision: bool = False

    def check(self, value: object) -> Value:
        """Return ``value`` if it is one of the axis' values and of the same type.

        Raises:
            InvalidConfig: it is not.
        """
        for known in self.values:
            if type(known) is type(value) and known == value:
                return known
        raise self._no_value(value)

    def read(self, text: str) -> Value:
        """The value that a text stands for, as a user types it.

        Raises:
            InvalidConfig: it is none of the axis' values.
        """
        for known in self.values:
            if str(known) == text:
                return known
        raise self._no_value(text)

    def _no_value(self, given: object) -> InvalidConfig:
        allowed = ", ".join(map(str, self.values))
        return InvalidConfig(
            f"{self.name}={shown(given)} is not a value of this axis; use one of {allowed}."
        )


def defaults(axes: Iterable[Axis]) -> dict[str, Value]:
    """The default value of each axis, by name."""
    return {axis.name: axis.default for axis in axes}


def checked(axes: Iterable[Axis], config: Mapping[str, object]) -> dict[str, Value]:
    """Check a config that came from outside and fill in the default of each missing axis.

    Raises:
        UnknownName: the config names an axis that does not exist.
        InvalidConfig: a value is not one of its axis' values.
    """
    by_name = {axis.name: axis for axis in axes}
    for name in config:
        if name not in by_name:
            raise UnknownName.of("axis", name, by_name)
    return {
        name: axis.check(config[name]) if name in config else axis.default
        for name, axis in by_name.items()
    }


def differing(config: Config, usual: Config) -> str:
    """The values of a config that differ from ``usual``, e.g. ``BT=32 dot=tf32``."""
    return " ".join(f"{name}={x}" for name, x in config.items() if usual.get(name) != x)
