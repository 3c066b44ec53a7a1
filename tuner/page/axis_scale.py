"""The axes of figures: their scale, and the unit of times."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, log10
from typing import Any

LINEAR_LIMIT = 4.0
"""Ratio of the longest to the shortest time of a figure up to which its axis is linear."""


def scale(values: Sequence[float]) -> dict[str, Any]:
    """A logarithmic axis for values that differ much, with ticks like 1, 2, 5, 10."""
    if not values or max(values) / min(values) <= LINEAR_LIMIT:
        return {"type": "linear"}
    decades = range(floor(log10(min(values))), ceil(log10(max(values))) + 1)
    steps = (1, 2, 5) if len(decades) < 5 else (1,)
    ticks = [float(f"{step}e{decade}") for decade in decades for step in steps]
    return {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}


def unit_of(seconds: float) -> tuple[str, float]:
    """The unit in which a time has digits before the point, and the units per second."""
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        if seconds * factor >= 1.0:
            return unit, factor
    return "us", 1e6
