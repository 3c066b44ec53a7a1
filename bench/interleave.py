"""Time several things in turn, so that a drifting machine drifts for all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

SETTLING = 3
"""Rounds before the first that counts: until then the allocator still learns the sizes."""


def interleaved(
    things: Mapping[str, Callable[[], object]], *, rounds: int, batch: int = 1
) -> dict[str, list[float]]:
    """Seconds a call of each thing, a sample a round; every other round runs in reverse order."""
    samples: dict[str, list[float]] = {name: [] for name in things}
    for number in range(-SETTLING, rounds):
        order = list(things) if number % 2 == 0 else list(reversed(things))
        for name in order:
            begin = time.perf_counter()
            for _ in range(batch):
                things[name]()
            if number >= 0:
                samples[name].append((time.perf_counter() - begin) / batch)
    return samples


def ratio(slow: list[float], fast: list[float]) -> float:
    """Median of the ratios round by round."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))
