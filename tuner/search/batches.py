"""Batches: configs asked of a strategy, compiled ahead, and of them those worth the time.

On a GPU compiling is cheap, for it happens on the cores beside it, and timing is dear. So more
configs are compiled than timed: of each batch those that the cost model takes for the fastest, and
some that it does not, for it may be wrong. A batch compiles while the one before it is timed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import ceil

from gdn_ops.codegen.axis import Config
from gdn_ops.tuner.search.trial_runner import TrialRunner
from gdn_ops.tuner.spaces.space import Space
from gdn_ops.tuner.strategies import Strategy

Ordered = Callable[[], list[Config]]
"""Waits until configs are compiled and gives them, the most promising first."""

BLIND = 4
"""One config in so many is the strategy's own choice, whatever the model says of it."""


class Batches:
    """What a search times, in order.

    Args:
        first: configs that are timed whatever the model says.
        width: configs compiled side by side; one is asked for when the one before it is told.
        sieve: configs compiled for each that is timed.
    """

    def __init__(
        self,
        strategy: Strategy,
        space: Space,
        runner: TrialRunner,
        *,
        first: Sequence[Config],
        width: int,
        sieve: int,
    ) -> None:
        self._strategy, self._space, self._runner = strategy, space, runner
        self._first = {space.point(config) for config in first}
        self._width, self._sieve = width, sieve
        self._spare: list[Config] = []

    def configs(self, budget: int) -> Iterator[Config]:
        """Configs to be timed one after another, told to the strategy, ``budget`` at the most."""
        batch = self._begin(budget)
        while batch is not None:
            chosen = self._chosen(*batch, budget)
            budget -= len(chosen)
            if self._width > 1:
                batch = self._begin(budget)
            yield from chosen
            if self._width == 1:
                batch = self._begin(budget)

    def _begin(self, budget: int) -> tuple[list[Config], Ordered] | None:
        """Ask for the next batch and begin to compile it; None if there is nothing more to time."""
        answers = (self._strategy.ask() for _ in range(min(self._width, budget * self._sieve)))
        asked = [config for config in answers if config is not None]
        if asked:
            return asked, self._runner.prepare(self._space, asked)
        spare, self._spare = self._spare[:budget], self._spare[budget:]
        return (spare, lambda: spare) if spare else None

    def _chosen(self, asked: list[Config], ordered: Ordered, budget: int) -> list[Config]:
        """What is timed of a batch, the most promising first; the rest is spared."""
        promising = ordered()
        count = min(budget, ceil(len(asked) / self._sieve))
        if count == len(asked):
            return promising
        blind = count // BLIND
        must = [config for config in asked if self._space.point(config) in self._first]
        taken: list[Config] = []
        # in its order the strategy says what it thinks of them
        for config in (*must, *promising[: count - blind], *asked):
            if config not in taken and len(taken) < max(count, len(must)):
                taken.append(config)
        for config in promising:
            if config not in taken:
                self._spare.append(config)
                self._strategy.drop(config)
        return taken[:budget]
