"""What a strategy needs to know of a space, whether its configs are run or were recorded."""

from __future__ import annotations

from typing import Protocol

from gdn_ops.codegen.axis import Axis, Config, Value

Point = tuple[Value, ...]
"""The values of a config in the order of the space's axes; hashable."""


class SearchSpace(Protocol):
    """A set of valid configs."""

    @property
    def axes(self) -> tuple[Axis, ...]: ...

    @property
    def configs(self) -> tuple[Config, ...]:
        """Every valid config."""

    def is_valid(self, config: Config) -> bool:
        """Whether a config is one of this space and can run."""

    def reasons(self, config: Config) -> list[str]:
        """Why a config cannot run; empty if it can."""

    def point(self, config: Config) -> Point: ...
