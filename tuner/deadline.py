"""Deadline: when something should be over, and how its time is shared among parts."""

from __future__ import annotations

import time
from dataclasses import dataclass
from math import inf


@dataclass(frozen=True)
class Deadline:
    """A moment by which something should be over.

    Args:
        moment: in seconds of the monotonic clock; infinite for no limit.
    """

    moment: float = inf

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """The deadline that is this many seconds from now."""
        return cls(time.monotonic() + seconds)

    @property
    def limited(self) -> bool:
        """Whether there is a limit at all."""
        return self.moment < inf

    @property
    def passed(self) -> bool:
        return time.monotonic() >= self.moment

    @property
    def remaining(self) -> float:
        """Seconds until the deadline: 0 once it has passed, infinite without a limit."""
        return max(0.0, self.moment - time.monotonic())

    def share(self, parts: int, *, least: float = 0.0) -> Deadline:
        """When the next of some parts should be over, so that all parts get the same time.

        Args:
            parts: number of parts that are left, the next one included; 0 counts as 1.
            least: seconds that the next part gets even if its share is smaller; it never gets more
                than the remaining time.
        """
        seconds = max(least, self.remaining / max(1, parts))
        return Deadline(min(self.moment, time.monotonic() + seconds))

    def portion(self, fraction: float) -> Deadline:
        """When a part that takes this fraction of the remaining time should be over."""
        return Deadline(min(self.moment, time.monotonic() + fraction * self.remaining))

    def earlier(self, seconds: float) -> Deadline:
        """The deadline that is this many seconds before this one."""
        return Deadline(self.moment - seconds)

    def __str__(self) -> str:
        """The remaining time in minutes and seconds, e.g. ``1:05``."""
        if not self.limited:
            return "no limit"
        left = round(self.remaining)
        return f"{left // 60}:{left % 60:02d}"


NO_DEADLINE = Deadline()
