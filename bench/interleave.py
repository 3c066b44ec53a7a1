"""Timing several functions in turn, so that changes of the machine's speed affect all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from itertools import count

SETTLING = 3
"""Warm-up rounds that are not recorded; the allocator adapts to the sizes in them."""


def interleaved(
    functions: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    batch: int = 1,
    seconds: float = 0.0,
) -> dict[str, list[float]]:
    """Return the seconds per call of each function, one sample per round.

    Every other round runs in reverse order. A sample is the mean of ``batch`` calls.

    Args:
        rounds: at least so many samples of each function.
        seconds: go on for at least so long; other work on the machine comes in bursts, and one of a
            second would otherwise cover all rounds of short calls.
    """
    samples: dict[str, list[float]] = {name: [] for name in functions}
    end = time.perf_counter() + seconds
    for number in count(-SETTLING):
        if number >= rounds and time.perf_counter() >= end:
            break
        order = list(functions) if number % 2 == 0 else list(reversed(functions))
        for name in order:
            begin = time.perf_counter()
            for _ in range(batch):
                functions[name]()
            if number >= 0:
                samples[name].append((time.perf_counter() - begin) / batch)
    return samples


def ratio(slow: list[float], fast: list[float]) -> float:
    """Return the median over the rounds of the ratio of two times."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))
