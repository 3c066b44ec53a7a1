"""Durations as text."""

from __future__ import annotations


def seconds_text(seconds: float | None) -> str:
    """Return a duration with three digits and its unit, e.g. ``12.3 ms``; ``-`` for None."""
    if seconds is None:
        return "-"
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if seconds * factor >= 1.0 or unit == "us":
            value = seconds * factor
            return f"{value:.{max(0, 2 - (len(str(int(value))) - 1))}f} {unit}"
    raise AssertionError(seconds)
