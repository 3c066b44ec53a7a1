"""The search strategies by name; a new one is a module with ``make`` and its name here.

A module may have ``SETTINGS``, whose values ``make`` gets as arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Protocol

from gdn_ops.codegen.errors import InvalidInput, UnknownName
from gdn_ops.tuner.strategies.settings import parsed

if TYPE_CHECKING:
    from gdn_ops.codegen.axis import Config
    from gdn_ops.tuner.store.records import Outcome
    from gdn_ops.tuner.strategies.search_space import SearchSpace

STRATEGIES = ("enumeration", "qmc", "tpe", "cmaes", "gp", "model")
"""Each is the module of the same name in this folder, with a function ``make``."""
AUTO = "auto"
SYNTAX = "NAME[:SETTING=VALUE...]"
CHOICE = (
    "enumeration tries the configs in random order (random search); model, a Gaussian process over "
    "the valid configs, needs the fewest trials; qmc, tpe, cmaes and gp are Optuna's samplers, to "
    "compare with"
)
"""When to take which, for help texts."""
NEEDS = {"qmc": ("scipy",), "cmaes": ("cmaes",), "gp": ("scipy",)}
"""Packages that only the extra ``samplers`` installs."""
OTHER_NAMES = {"random": "enumeration", "grid": "enumeration", "brute_force": "enumeration"}


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


def strategy_for(text: str, space: SearchSpace, *, trials: int) -> str:
    """The strategy to use; ``auto`` enumerates a space of at most ``trials`` configs, and searches
    a larger one with the model.

    Raises:
        UnknownName, InvalidInput: as ``checked``.
    """
    if text == AUTO:
        return "enumeration" if len(space.configs) <= trials else "model"
    checked(text)
    return text


def checked(text: str, *, auto: bool = False) -> None:
    """Check a strategy and its settings, as a user gives them, e.g. ``tpe:startup=20``.

    Args:
        auto: whether ``auto`` may be given.

    Raises:
        UnknownName: the strategy does not exist.
        InvalidInput: it has no such setting or not with this value, or a package is missing.
    """
    if not (auto and text == AUTO):
        _chosen(text, [AUTO] if auto else [])


def make_strategy(text: str, setup: StrategySetup) -> Strategy:
    """Make a strategy of ``STRATEGIES``, with its settings if they are given.

    Raises:
        UnknownName, InvalidInput: as ``checked``.
    """
    module, settings = _chosen(text, [])
    strategy: Strategy = module.make(setup, **settings)
    return strategy


def _chosen(text: str, others: Sequence[str]) -> tuple[ModuleType, dict[str, int]]:
    name, *given = (part.strip() for part in text.split(":"))
    if name == AUTO and name in others:
        raise InvalidInput(
            f"{AUTO} chooses the strategy, so it has no settings; name one of "
            f"{', '.join(STRATEGIES)}."
        )
    if name in OTHER_NAMES:
        raise UnknownName(
            f"unknown strategy {name!r}; use {OTHER_NAMES[name]!r}, which tries the configs in "
            f"random order. Known: {', '.join([*others, *STRATEGIES])}."
        )
    if name not in STRATEGIES:
        raise UnknownName.of("strategy", name, [*others, *STRATEGIES])
    if (package := missing_package(name)) is not None:
        raise InvalidInput(
            f"strategy {name} needs the package {package}; pip install 'gdn-ops[samplers]'."
        )
    module = import_module(f"{__name__}.{name}")
    return module, parsed(name, given, getattr(module, "SETTINGS", ()))


def missing_package(name: str) -> str | None:
    """The first package that a strategy needs and that is not installed."""
    return next((p for p in NEEDS.get(name, ()) if find_spec(p) is None), None)
