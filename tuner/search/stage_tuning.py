"""Stage tuning: the stages of a plan are tuned apart, for each interface they may share.

Stages run one after another, so their times add up. The best variant of an interface is therefore
the best config of every stage, and instead of the product of the stages' spaces only their sum is
searched. The initial config of every stage is timed first, so that an interface has a total time
even if the time does not suffice to search all of its stages.
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
TimeInitial = Callable[[Space], Found | None]
"""Gives the best known config of a space, or times its initial config; None if it is not right."""
MakeReady = Callable[[StageSpaces], StageSpaces | None]
"""Gives the interface with configs that compile; None if a stage has none."""

MIN_STAGE_SECONDS = 20.0
"""Least time for the search of a stage, if all stages of its interface can have as much. When time
is short, fewer interfaces are tuned."""

GIVE_UP_FACTOR = 1.1
"""An interface is given up once its searched stages alone take this much of the best total."""


@dataclass(frozen=True)
class Sum:
    """A variant put together from stages that were timed apart, and the sum of their times."""

    variant: Variant
    seconds: float


class StageTuning:
    """Tunes the stages of a plan and remembers the best config of each.

    A stage is searched once for all interfaces that agree in the axes it reads.

    Args:
        time_initial: times the initial config of a stage.
        search: searches the space of a stage.
    """

    def __init__(self, *, time_initial: TimeInitial, search: SearchSpace) -> None:
        self._initial, self._search = time_initial, search
        self._found: dict[StageKey, Found | None] = {}
        self._searched: set[StageKey] = set()

    def tune(
        self, interfaces: Sequence[StageSpaces], *, ready: MakeReady, deadline: Deadline
    ) -> list[Sum]:
        """Tune every stage under every interface and return the sums, best first.

        A stage that the time did not suffice to search counts with its initial config.

        Args:
            interfaces: the most promising first.
            deadline: interfaces that would be tuned after it are left out.
        """
        sums: list[Sum] = []
        for i, spaces in enumerate(interfaces):
            if deadline.passed:
                break
            usable = ready(spaces)
            if usable is None:
                continue
            # the sum of the first interface is worth passing the deadline for
            if not self._time_initial(usable, deadline if sums else NO_DEADLINE):
                break
            best = min((total.seconds for total in sums), default=float("inf"))
            ahead = {space.stage_key for others in interfaces[i:] for space in others}
            self._search_stages(usable, ahead, limit=GIVE_UP_FACTOR * best, deadline=deadline)
            stages = [found for space in usable if (found := self._found[space.stage_key])]
            if len(stages) == len(usable) and not self._too_slow(usable, GIVE_UP_FACTOR * best):
                sums.append(Sum(_variant(usable[0], stages), sum(s.seconds for s in stages)))
        return sorted(sums, key=lambda total: total.seconds)

    def _time_initial(self, spaces: StageSpaces, deadline: Deadline) -> bool:
        """Time the initial configs of an interface; returns whether the time sufficed for all."""
        for space in spaces:
            if space.stage_key not in self._found:
                if deadline.passed:
                    return False
                self._found[space.stage_key] = self._initial(space)
        return True

    def _search_stages(
        self, spaces: StageSpaces, ahead: set[StageKey], *, limit: float, deadline: Deadline
    ) -> None:
        """Search the stages of an interface, slowest first, until it is too late or too slow.

        Args:
            ahead: stages of this interface and of those after it.
            limit: seconds above which the interface is given up.
        """
        waiting = sorted(
            (space for space in spaces if space.stage_key not in self._searched),
            key=self._initial_seconds,
            reverse=True,
        )
        for i, space in enumerate(waiting):
            if deadline.passed or self._too_slow(spaces, limit):
                return
            here, everywhere = len(waiting) - i, len(ahead - self._searched)
            least = min(MIN_STAGE_SECONDS, deadline.remaining / here)
            until = deadline.share(everywhere, least=least)
            self._searched.add(space.stage_key)
            self._found[space.stage_key] = (
                self._search(space, until) or self._found[space.stage_key]
            )

    def _initial_seconds(self, space: Space) -> float:
        found = self._found[space.stage_key]
        return float("inf") if found is None else found.seconds

    def _too_slow(self, spaces: StageSpaces, limit: float) -> bool:
        """Whether the searched stages of an interface alone exceed a limit, or one is not right."""
        done = [
            self._found[space.stage_key] for space in spaces if space.stage_key in self._searched
        ]
        seconds = [float("inf") if found is None else found.seconds for found in done]
        return float("inf") in seconds or sum(seconds) > limit


def _variant(space: Space, stages: Sequence[Found]) -> Variant:
    configs = {stage.space.stage: stage.config for stage in stages}
    return Variant.of(space.plan, space.problem, dict(space.interface), configs)
