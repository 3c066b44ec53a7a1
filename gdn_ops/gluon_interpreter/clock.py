"""Clock: which events must have happened, by what an actor has waited for (a vector clock)."""

from __future__ import annotations

from typing import NamedTuple


class Event(NamedTuple):
    """A point in the life of an actor: a partition, a copy or a product."""

    actor: int
    time: int


class Clock:
    """The latest event of each actor that must have happened."""

    def __init__(self, times: dict[int, int] | None = None) -> None:
        self._times = dict(times or {})

    def covers(self, event: Event) -> bool:
        """Whether an event must have happened."""
        return self._times.get(event.actor, 0) >= event.time

    def add(self, event: Event) -> None:
        """Learn that an event has happened."""
        self._times[event.actor] = max(self._times.get(event.actor, 0), event.time)

    def join(self, other: Clock) -> None:
        """Learn all that another clock knows."""
        for actor, time in other._times.items():
            self.add(Event(actor, time))

    def now(self, actor: int) -> Event:
        """The actor's latest event."""
        return Event(actor, self._times.get(actor, 0))

    def tick(self, actor: int) -> None:
        """Begin the actor's next event."""
        self._times[actor] = self._times.get(actor, 0) + 1

    def copy(self) -> Clock:
        return Clock(self._times)
