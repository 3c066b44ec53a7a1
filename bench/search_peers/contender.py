"""A contender: one search strategy, of whatever project, that can search a recorded space."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gdn_ops.tuner.replay.recorded_space import RecordedSpace


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
