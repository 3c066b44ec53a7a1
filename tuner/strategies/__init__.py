"""The search strategies by name; a new one is a module with ``make`` and its name here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from gdn_ops.codegen.errors import UnknownName

if TYPE_CHECKING:
    from gdn_ops.codegen.axis import Config
    from gdn_ops.tuner.store.records import Outcome
    from gdn_ops.tuner.strategies.search_space import SearchSpace

STRATEGIES = ("enumeration", "tpe", "model")
"""Each is the module of the same name in this folder, with a function ``make``."""
AUTO = "auto"


class Strategy(Protocol):
    """Suggests configs of a space and is told their outcomes.

    Every suggestion is a valid config that was neither suggested before nor known at the start.
    """

    def ask(self) -> Config | None:
        """The next config to try; None if there are no more."""

    def tell(self, config: Config, outcome: Outcome) -> None:
        """Tell the outcome of a suggested config."""

    def drop(self, config: Config) -> None:
        """Tell that a suggested config will not be tried."""


@dataclass(frozen=True, kw_only=True)
class StrategySetup:
    """What a strategy needs for one search.

    Args:
        first: configs to suggest before any other, e.g. the default and winners of other problems.
        known: configs that were tried before, with their outcomes.
    """

    space: SearchSpace
    seed: int = 0
    first: Sequence[Config] = ()
    known: Sequence[tuple[Config, Outcome]] = ()


def strategy_for(name: str, space: SearchSpace, *, trials: int) -> str:
    """The name of the strategy to use; ``auto`` enumerates a space of at most ``trials`` configs,
    and searches a larger one with the model.

    Raises:
        UnknownName: the strategy does not exist.
    """
    if name == AUTO:
        return "enumeration" if len(space.configs) <= trials else "model"
    if name not in STRATEGIES:
        raise UnknownName.of("strategy", name, [AUTO, *STRATEGIES])
    return name


def make_strategy(name: str, setup: StrategySetup) -> Strategy:
    """Make a strategy of ``STRATEGIES``."""
    strategy: Strategy = import_module(f"{__name__}.{name}").make(setup)
    return strategy
