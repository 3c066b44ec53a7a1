"""Effect: how much worse or better a row is, to list the most important ones first."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf, isfinite, log

from gdn_ops.tuner.check.outcome import CheckRow
from gdn_ops.tuner.check.states import State

_BEFORE_TIMES = (State.WRONG, State.CRASHED)
"""No time makes up for these, so they come before every regression."""


def largest_first(rows: Iterable[CheckRow]) -> list[CheckRow]:
    """The rows sorted by the size of their effect; equal ones in the given order."""
    return sorted(rows, key=effect, reverse=True)


def effect(row: CheckRow) -> float:
    """The size of a change, on a log scale; infinite for wrong results and crashes."""
    if row.state in _BEFORE_TIMES:
        return inf
    if row.times is not None:
        return abs(log(row.times.ratio)) if isfinite(row.times.ratio) else 0.0
    failing = [d for d in row.differences if d.failing]
    # many figures may be 0 on one side, so one is added to both
    changes = (abs(log((abs(d.head) + 1) / (abs(d.base) + 1))) for d in failing or row.differences)
    return max(changes, default=0.0)
