"""Head time: a row's time as the formats that follow a trend want it."""

from __future__ import annotations

from functools import lru_cache

from gdn_ops.tuner.check.outcome import CheckRow
from gdn_ops.tuner.measure.statistics import Estimate, estimate


def head_time(row: CheckRow) -> Estimate | None:
    """The median of the head's times per process in seconds, with its 95 % bootstrap interval.

    None if the head was not timed.
    """
    if row.times is None or not row.times.head:
        return None
    return _estimate(row.times.head)


@lru_cache(maxsize=4096)
def _estimate(samples: tuple[float, ...]) -> Estimate:
    """Remembered, because several formats ask for the same rows."""
    return estimate(samples)
