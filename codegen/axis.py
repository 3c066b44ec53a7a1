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
        values: every value the axis may take, in their natural order.
        default: the conservative value, used where nothing was measured.
        doc: what the choice is about, in a phrase.
        launch: the value goes to Triton's launcher, not into the template.
    """

    name: str
    values: tuple[Value, ...]
    default: Value
    doc: str
    launch: bool = False

    def check(self, value: object) -> Value:
        """Return ``value`` if it is one of the axis' values, of the same type."""
        for known in self.values:
            if type(known) is type(value) and known == value:
                return known
        allowed = ", ".join(map(str, self.values))
        raise InvalidConfig(f"{self.name}={shown(value)} is none of the axis' values: {allowed}.")


def defaults(axes: Iterable[Axis]) -> dict[str, Value]:
    """The default config of some axes."""
    return {axis.name: axis.default for axis in axes}


def checked(axes: Iterable[Axis], config: Mapping[str, object]) -> dict[str, Value]:
    """Check a config that came from outside: unknown axes are refused, missing ones defaulted."""
    by_name = {axis.name: axis for axis in axes}
    for name in config:
        if name not in by_name:
            raise UnknownName.of("axis", name, by_name)
    return {
        name: axis.check(config[name]) if name in config else axis.default
        for name, axis in by_name.items()
    }


def differing(config: Config, usual: Config) -> str:
    """What of a config is not as usual, e.g. ``BT=32 dot=tf32``."""
    return " ".join(f"{name}={x}" for name, x in config.items() if usual.get(name) != x)
