"""Spark line: the ratios of a row's pairs, one character each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import log
from statistics import median_low

from gdn_ops.tuner.check.outcome import CheckRow

BLOCKS, ASCII = "▁▂▃▄▅▆▇", "_.-=+*#"
"""An odd number of levels, so that the middle one stands for a ratio of 1."""
_STEP = 0.03
"""Threshold that is assumed where the rows have none."""


def limit_of(rows: Iterable[CheckRow]) -> float:
    """How far above 1 the highest level is: one scale for all rows.

    A level is about one threshold wide. Ratios beyond the scale get its last level, so that one
    row does not flatten all the others.
    """
    thresholds = [row.times.threshold for row in rows if row.times and row.times.threshold > 0]
    return len(BLOCKS) // 2 * (median_low(thresholds) if thresholds else _STEP)


def spark(ratios: Sequence[float], limit: float, levels: str = BLOCKS) -> str:
    """One character per ratio, centred at 1, from 1 / (1 + limit) to 1 + limit."""
    half = len(levels) // 2
    steps = (half * log(ratio) / log(1 + limit) if ratio > 0 else -half for ratio in ratios)
    return "".join(levels[half + round(max(-half, min(half, step)))] for step in steps)


def legend(limit: float, levels: str = BLOCKS) -> str:
    """What the characters mean."""
    low, high = 1 / (1 + limit), 1 + limit
    middle = levels[len(levels) // 2]
    return (
        f"ratio: time of the head over time of the base. Pair ratios: {middle} is 1.00, "
        f"{levels[0]} is {low:.2f} or less, {levels[-1]} is {high:.2f} or more."
    )
