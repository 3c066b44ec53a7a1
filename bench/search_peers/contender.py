"""A contender: one search strategy, of whatever project, that can search a recorded space."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gdn_ops.tuner.replay.recorded_space import RecordedSpace
from gdn_ops.tuner.replay.replay import CHECKPOINTS

MOST_EVALUATIONS = CHECKPOINTS[-1]


class CannotRun(Exception):
    """A strategy cannot search here; the text says why."""


@dataclass(frozen=True)
class Contender:
    """A search strategy.

    Args:
        project: the project and its version.
        search: searches a space with a seed. It returns the seconds of each different recorded
            config in the order of evaluation, None for one that failed, and at most
            ``MOST_EVALUATIONS`` of them. Configs that are not recorded cost nothing.
    """

    name: str
    project: str
    search: Callable[[RecordedSpace, int], list[float | None]]


def fractions(evaluated: list[float | None], optimum: float) -> list[float]:
    """The optimum over the best time at each of ``CHECKPOINTS``; 0 while nothing succeeded.

    A search that ended early keeps what it reached.
    """
    reached = []
    for count in CHECKPOINTS:
        best = min((x for x in evaluated[:count] if x is not None), default=float("inf"))
        reached.append(optimum / best)
    return reached
