"""How much of a run, of its problem and of its search is done, and how much time is left."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from gdn_ops.tuner.deadline import NO_DEADLINE, Deadline


@dataclass(frozen=True)
class Part:
    """One bar: what it is about, how much is done (0 to 1), and what is said beside it."""

    name: str
    done: float
    text: str


class TimeLeft:
    """Follows the problems of a run.

    Args:
        now: seconds of the monotonic clock.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._began = self._problem_began = now()
        self._whole = self._deadline = NO_DEADLINE
        self._first, self._number, self._total = 0, 0, 0

    def start(self, *, number: int, total: int, deadline: Deadline, whole: Deadline) -> None:
        """The problem of a number starts; both deadlines may be without limit."""
        self._problem_began = self._now()
        if not self._first:
            self._first, self._began = number, self._problem_began
        self._number, self._total = number, total
        self._deadline, self._whole = deadline, whole

    def run(self) -> Part:
        """The whole run: by time if it is limited, else by problems."""
        done, total = self._number - 1, self._total
        if self._whole.limited:
            share, text = self._limited(self._began, self._whole)
            return Part("all problems", share, text)
        tuned = self._number - self._first
        text = f"{done} of {total} done"
        if tuned:
            left = (self._problem_began - self._began) / tuned * (total - done)
            left -= self._now() - self._problem_began
            text += f", about {Deadline.after(max(0.0, left))} left"
        return Part("all problems", done / total if total else 0.0, text)

    def problem(self) -> Part | None:
        """The current problem; None if its time is not limited."""
        if not self._deadline.limited:
            return None
        share, text = self._limited(self._problem_began, self._deadline)
        return Part("this problem", share, text)

    def _limited(self, began: float, deadline: Deadline) -> tuple[float, str]:
        length = max(1e-9, deadline.moment - began)
        share = min(1.0, max(0.0, (self._now() - began) / length))
        return share, "finishing" if share == 1.0 else f"at most {deadline} left"
