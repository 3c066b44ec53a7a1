"""Stage tuning: the stages of a plan tuned apart, for each interface they may share.

Stages run one after another, so their times add: the best variant of an interface is the best
config of every stage, and a product of spaces is searched as a sum. What a stage begins with is
timed first, so that there is a sum however few of the stages are searched in time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gdn_ops.codegen.variant import Variant
from gdn_ops.tuner.deadline import NO_DEADLINE, Deadline
from gdn_ops.tuner.search.space_search import Found
from gdn_ops.tuner.spaces.space import Space, StageKey, StageSpaces

SearchSpace = Callable[[Space, Deadline], Found | None]
"""Searches a space until a deadline."""
TimeFirst = Callable[[Space], Found | None]
"""Times what a space begins with, or knows better; None if it is not right."""
MakeReady = Callable[[StageSpaces], StageSpaces | None]
"""The interface as it can be run, None if it cannot."""

LEAST_SECONDS = 20.0
"""A stage's share of the time, if the stages of its interface can all have it; when time is short,
fewer interfaces are tuned."""

HOPELESS = 1.1
"""An interface is left when its searched stages alone take this much of the best whole sum."""


@dataclass(frozen=True)
class Sum:
    """A variant put together from stages timed apart, and the sum of their times."""

    variant: Variant
    seconds: float


class StageTuning:
    """The best config known of each stage and what of the interface it reads.

    Args:
        first: times what a stage begins with.
        search: searches a stage; a stage that reads the same of two interfaces is searched once.
    """

    def __init__(self, *, first: TimeFirst, search: SearchSpace) -> None:
        self._first, self._search = first, search
        self._found: dict[StageKey, Found | None] = {}
        self._searched: set[StageKey] = set()

    def tune(
        self, interfaces: Sequence[StageSpaces], *, ready: MakeReady, deadline: Deadline
    ) -> list[Sum]:
        """Tune every stage under every interface and return the sums, best first.

        A sum has the time of what a stage begins with where time did not allow to search it.

        Args:
            interfaces: the most promising first.
            deadline: interfaces that come too late are left out.
        """
        sums: list[Sum] = []
        for i, spaces in enumerate(interfaces):
            if deadline.passed:
                break
            usable = ready(spaces)
            if usable is None:
                continue
            # of the first interface a sum is worth being a little late
            if not self._time_first(usable, deadline if sums else NO_DEADLINE):
                break
            best = min((total.seconds for total in sums), default=float("inf"))
            ahead = {space.stage_key for others in interfaces[i:] for space in others}
            self._search_stages(usable, ahead, limit=HOPELESS * best, deadline=deadline)
            stages = [found for space in usable if (found := self._found[space.stage_key])]
            if len(stages) == len(usable) and not self._hopeless(usable, HOPELESS * best):
                sums.append(Sum(_variant(usable[0], stages), sum(s.seconds for s in stages)))
        return sorted(sums, key=lambda total: total.seconds)

    def _time_first(self, spaces: StageSpaces, deadline: Deadline) -> bool:
        """Time what the stages of an interface begin with; whether all were in time."""
        for space in spaces:
            if space.stage_key not in self._found:
                if deadline.passed:
                    return False
                self._found[space.stage_key] = self._first(space)
        return True

    def _search_stages(
        self, spaces: StageSpaces, ahead: set[StageKey], *, limit: float, deadline: Deadline
    ) -> None:
        """Search the stages of an interface, the slowest first, until it is late or hopeless."""
        waiting = sorted(
            (space for space in spaces if space.stage_key not in self._searched),
            key=self._first_seconds,
            reverse=True,
        )
        for i, space in enumerate(waiting):
            if deadline.passed or self._hopeless(spaces, limit):
                return
            here, everywhere = len(waiting) - i, len(ahead - self._searched)
            least = min(LEAST_SECONDS, deadline.remaining / here)
            until = deadline.share(everywhere, least=least)
            self._searched.add(space.stage_key)
            self._found[space.stage_key] = (
                self._search(space, until) or self._found[space.stage_key]
            )

    def _first_seconds(self, space: Space) -> float:
        found = self._found[space.stage_key]
        return float("inf") if found is None else found.seconds

    def _hopeless(self, spaces: StageSpaces, limit: float) -> bool:
        """Whether the searched stages of an interface alone take too long, or are never right."""
        done = [
            self._found[space.stage_key] for space in spaces if space.stage_key in self._searched
        ]
        seconds = [float("inf") if found is None else found.seconds for found in done]
        return float("inf") in seconds or sum(seconds) > limit


def _variant(space: Space, stages: Sequence[Found]) -> Variant:
    configs = {stage.space.stage: stage.config for stage in stages}
    return Variant.of(space.plan, space.problem, dict(space.interface), configs)
