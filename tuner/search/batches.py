"""Batches: a search asks for many configs, compiles them all and times only the promising ones.

On a GPU target compiling is cheap, because it runs on the CPU cores, and timing is expensive. So
more configs are compiled than timed: of each batch those that the cost model predicts to be the
fastest, and a few that it does not, because it may be wrong. A batch compiles while the one before
it is timed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import ceil

from gdn_ops.codegen.axis import Config
from gdn_ops.tuner.search.trial_runner import TrialRunner
from gdn_ops.tuner.spaces.space import Space
from gdn_ops.tuner.strategies import Strategy

PendingOrder = Callable[[], list[Config]]
"""Waits until configs are compiled and returns them, the most promising first."""

STRATEGY_PICK_EVERY = 4
"""One of this many timed configs is the strategy's choice, whatever the cost model predicts."""


class Batches:
    """The configs that a search times, in order.

    Args:
        first: configs that are timed whatever the cost model predicts.
        width: configs compiled side by side. With 1, each config is asked for after the outcome of
            the one before it was told to the strategy.
        compiled_per_timed: configs that are compiled for each one that is timed.
    """

    def __init__(
        self,
        strategy: Strategy,
        space: Space,
        runner: TrialRunner,
        *,
        first: Sequence[Config],
        width: int,
        compiled_per_timed: int,
    ) -> None:
        self._strategy, self._space, self._runner = strategy, space, runner
        self._first = {space.point(config) for config in first}
        self._width, self._compiled_per_timed = width, compiled_per_timed
        self._leftover: list[Config] = []

    def configs(self, budget: int) -> Iterator[Config]:
        """Yield at most ``budget`` configs to time; the caller tells the strategy each outcome."""
        batch = self._next_batch(budget)
        while batch is not None:
            chosen = self._chosen(*batch, budget)
            self._runner.record_failed(self._space, chosen)
            budget -= len(chosen)
            if self._width > 1:
                batch = self._next_batch(budget)
            yield from chosen
            if self._width == 1:
                batch = self._next_batch(budget)

    def _next_batch(self, budget: int) -> tuple[list[Config], PendingOrder] | None:
        """Ask for configs and start to compile them; None if nothing is left to time."""
        count = min(self._width, budget * self._compiled_per_timed)
        answers = (self._strategy.ask() for _ in range(count))
        asked = [config for config in answers if config is not None]
        if asked:
            return asked, self._runner.prepare(self._space, asked)
        leftover, self._leftover = self._leftover[:budget], self._leftover[budget:]
        return (leftover, lambda: leftover) if leftover else None

    def _chosen(self, asked: list[Config], ordered: PendingOrder, budget: int) -> list[Config]:
        """The configs of a batch that are timed, the most promising first.

        The others are kept, to be timed if the strategy runs out of configs.
        """
        promising = ordered()
        count = min(budget, ceil(len(asked) / self._compiled_per_timed))
        if count == len(asked):
            return promising
        strategy_picks = count // STRATEGY_PICK_EVERY
        must = [config for config in asked if self._space.point(config) in self._first]
        taken: list[Config] = []
        # the strategy asks for the config that it thinks best first, so its order ranks them too
        for config in (*must, *promising[: count - strategy_picks], *asked):
            if config not in taken and len(taken) < max(count, len(must)):
                taken.append(config)
        for config in promising:
            if config not in taken:
                self._leftover.append(config)
                self._strategy.drop(config)
        return taken[:budget]
