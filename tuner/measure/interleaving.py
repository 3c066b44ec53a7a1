"""Interleaving: sample contenders in turn, so that what drifts meets all of them alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic

from gdn_ops.tuner.measure.timers import Sampler

MOST_ROUNDS = 60
CUT_AFTER = 2
"""Samples by which a contender may be found hopeless."""
CUT_MARGIN = 1.1
"""A sample this much above the limit is no noise."""


def interleaved(
    samplers: Mapping[str, Sampler],
    *,
    rounds: int,
    seconds: float,
    stop_above: Mapping[str, float] | None = None,
    clock: Callable[[], float] = monotonic,
) -> dict[str, list[float]]:
    """Sample every contender once a round, each second round in reverse (A B C C B A).

    Args:
        rounds: at least this many, whatever they take.
        seconds: budget; rounds go on until it is used, ``MOST_ROUNDS`` at most.
        stop_above: seconds a call above which a contender is cut: when its first samples all
            exceed the limit by ``CUT_MARGIN``, it keeps them and takes no more.

    Returns:
        The samples of each contender; sample i is of round i.
    """
    limits = stop_above or {}
    samples: dict[str, list[float]] = {name: [] for name in samplers}
    running = list(samplers)
    end = clock() + seconds
    for i in range(max(rounds, MOST_ROUNDS)):
        if not running or (i >= rounds and clock() >= end):
            break
        for name in reversed(running) if i % 2 else running:
            samples[name].append(samplers[name]())
        running = [n for n in running if n not in limits or not is_cut(samples[n], limits[n])]
    return samples


def is_cut(samples: list[float], limit: float) -> bool:
    """Whether the first samples put a contender above its limit."""
    first = samples[:CUT_AFTER]
    return len(first) == CUT_AFTER and min(first) > CUT_MARGIN * limit
