"""Every search strategy by name; a new one is a module with ``make``, and a line here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.errors import UnknownName
from gdn_ops.tuner.spaces.space import Space
from gdn_ops.tuner.store.records import Outcome

STRATEGIES = {
    "enumeration": "gdn_ops.tuner.strategies.enumeration",
    "tpe": "gdn_ops.tuner.strategies.tpe",
}
AUTO = "auto"


class Strategy(Protocol):
    """A search that is asked for configs and told how they did.

    Every answer is a valid config of the space that was neither asked nor known before.
    """

    def ask(self) -> Config | None:
        """The next config; None when all were asked."""

    def tell(self, config: Config, outcome: Outcome) -> None:
        """How a config did."""

    def drop(self, config: Config) -> None:
        """A config that was asked will not be tried."""


@dataclass(frozen=True, kw_only=True)
class StrategySetup:
    """What a strategy begins with.

    Args:
        first: configs to try before any other, e.g. the default and what won elsewhere.
        known: configs that were tried before, with their outcomes.
        studies: file that Optuna keeps its studies in; None keeps them in memory.
        study: name that sets this search apart from others in the file.
    """

    space: Space
    seed: int = 0
    first: Sequence[Config] = ()
    known: Sequence[tuple[Config, Outcome]] = ()
    studies: Path | None = None
    study: str = "study"


def strategy_for(name: str, space: Space, *, trials: int) -> str:
    """The strategy of a name; ``auto`` enumerates a space that ``trials`` cover, else samples.

    Raises:
        UnknownName: the strategy does not exist.
    """
    if name == AUTO:
        return "enumeration" if len(space.configs) <= trials else "tpe"
    if name not in STRATEGIES:
        raise UnknownName.of("strategy", name, [AUTO, *STRATEGIES])
    return name


def make_strategy(name: str, setup: StrategySetup) -> Strategy:
    """Begin a strategy of ``STRATEGIES``."""
    strategy: Strategy = import_module(STRATEGIES[name]).make(setup)
    return strategy
