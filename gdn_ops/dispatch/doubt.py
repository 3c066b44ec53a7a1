"""Doubt: what makes the time of a measured winner unreliable, so that it is measured again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DOUBTFUL_RATIO = 2.0
"""Upper over lower bound of the interval of a median; a calm machine stays below 1.1."""
DOUBTFUL_SHARE = 1 - 1 / DOUBTFUL_RATIO
"""Share of its cores that others take from a measurement; times grow by ``DOUBTFUL_RATIO`` then."""


def is_doubtful(low: float, high: float) -> bool:
    """Whether the bounds of a 95 % interval are so far apart that the median says little."""
    return high > DOUBTFUL_RATIO * low


def load(conditions: object) -> str:
    """How busy others kept the cores that a measurement needed; empty if they hardly did.

    Args:
        conditions: as the timer of the CPU reports them; stored ones may have any content.
    """
    if not isinstance(conditions, Mapping):
        return ""
    others, cores, threads = (
        _number(conditions.get(name)) for name in ("cores_of_others", "cores", "threads")
    )
    if threads <= 0 or others + threads - cores <= DOUBTFUL_SHARE * threads:
        return ""
    return f"other processes used {others:.1f} of {cores:.0f} cores while it was measured"


def conditions_of(resources: object) -> Any:
    """The conditions in the resources of a trial; None if there are none."""
    return resources.get("conditions") if isinstance(resources, Mapping) else None


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and abs(value) < 1e9 else 0.0
