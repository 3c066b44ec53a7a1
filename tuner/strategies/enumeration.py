"""Enumeration: suggests every config of a space once, in random order after the first ones. Take it
where the trials cover the space; where they do not, it is a uniform sample to compare with."""

from __future__ import annotations

import random
from collections.abc import Iterable

from gdn_ops.codegen.axis import Config
from gdn_ops.tuner.store.records import Outcome
from gdn_ops.tuner.strategies import StrategySetup
from gdn_ops.tuner.strategies.search_space import Point, SearchSpace


def make(setup: StrategySetup) -> Enumeration:
    """An enumeration of the configs that are not known yet."""
    known = [setup.space.point(config) for config, _ in setup.known]
    enumeration = Enumeration(setup.space, seed=setup.seed, first=setup.first, asked=known)
    for config, outcome in setup.known:
        enumeration.tell(config, outcome)
    return enumeration


class Enumeration:
    """The configs of a space that were not suggested yet.

    The order is random, so that a search that runs out of time has seen a fair sample.
    ``nearest_to`` reorders what is left.

    Args:
        first: configs that come first.
        asked: configs that are left out.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        seed: int,
        first: Iterable[Config] = (),
        asked: Iterable[Point] = (),
    ) -> None:
        rest = list(space.configs)
        random.Random(seed).shuffle(rest)
        done = set(asked)
        ordered = {space.point(config): config for config in (*first, *rest)}
        self._space = space
        self._left = {point: config for point, config in ordered.items() if point not in done}

    def ask(self) -> Config | None:
        """The next config; None if there are no more."""
        if not self._left:
            return None
        return self._left.pop(next(iter(self._left)))

    def tell(self, config: Config, outcome: Outcome) -> None:
        """Do nothing: outcomes do not change the order."""

    def drop(self, config: Config) -> None:
        """Do nothing: dropped configs do not change the order."""

    def nearest_to(self, best: Config) -> None:
        """Suggest next the configs that differ from ``best`` in the fewest axes."""
        target = self._space.point(best)

        def distance(point: Point) -> int:
            return sum(a != b for a, b in zip(point, target, strict=True))

        self._left = {point: self._left[point] for point in sorted(self._left, key=distance)}
