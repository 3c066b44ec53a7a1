"""The board: which problems wait, which device takes which, and until when."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from gdn_ops.codegen.problem import Problem
from gdn_ops.tuner.deadline import NO_DEADLINE, Deadline


@dataclass(frozen=True)
class Taken:
    """A problem that a device tunes; ``number`` counts the problems of its target."""

    problem: Problem
    number: int
    deadline: Deadline


@dataclass
class Board:
    """The problems of one target. Devices in several environments may share them.

    Args:
        waiting: problems that nobody has taken yet, in order.
        whole: when all of them should be over.
        shares: by problem id; None for equal shares.
        begun: for each problem id, the environments in which it has trials.
    """

    waiting: list[Problem]
    whole: Deadline = NO_DEADLINE
    shares: Mapping[str, float] | None = None
    begun: Mapping[str, Collection[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.total = len(self.waiting)
        self._lock = threading.Lock()
        self._running: dict[str, Deadline] = {}
        self._taken = 0

    def take(self, environment: int, devices: int) -> Taken | None:
        """The next problem for a device; None if nobody has to take one any more.

        A problem with trials in the device's environment comes first: its search goes on there.

        Args:
            environment: of the device.
            devices: how many share the problems.
        """
        with self._lock:
            if not self.waiting:
                return None
            problem = min(self.waiting, key=lambda each: self._rank(each, environment))
            deadline = self._until(problem, devices)
            self.waiting.remove(problem)
            self._running[problem.id()] = deadline
            self._taken += 1
            return Taken(problem, self._taken, deadline)

    def drop(self, problem: Problem) -> None:
        """A problem that waits is finished already."""
        with self._lock:
            self.waiting.remove(problem)
            self.total -= 1

    def done(self, problem: Problem) -> None:
        """A problem that was taken is over."""
        with self._lock:
            self._running.pop(problem.id(), None)

    def put_back(self, problem: Problem) -> None:
        """A problem that was taken is not over: another device takes it."""
        with self._lock:
            self._running.pop(problem.id(), None)
            self.waiting.insert(0, problem)
            self._taken -= 1

    def _rank(self, problem: Problem, environment: int) -> int:
        begun = self.begun.get(problem.id(), ())
        return 0 if environment in begun else 1 if not begun else 2

    def _until(self, problem: Problem, devices: int) -> Deadline:
        """The problem's share of what is left of the time of all devices together."""
        if not self.whole.limited:
            return NO_DEADLINE
        now = time.monotonic()
        taken = sum(max(0.0, until.moment - now) for until in self._running.values())
        left = max(0.0, devices * self.whole.remaining - taken)
        weights = {each.id(): self._weight(each) for each in self.waiting}
        share = left * weights[problem.id()] / sum(weights.values())
        return Deadline(min(self.whole.moment, now + share))

    def _weight(self, problem: Problem) -> float:
        return 1.0 if self.shares is None else self.shares[problem.id()]
