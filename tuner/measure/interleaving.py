"""Interleaving: contenders are sampled in turn, so that slow drifts affect all of them alike."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from time import monotonic

from gdn_ops.tuner.measure.timers import Sampler

MAX_ROUNDS = 60
CUT_AFTER = 2
"""Samples after which a contender may be cut."""
LOOK_EVERY = 5
"""Rounds between two looks at whether the samples say enough; each look is a chance to err."""
CUT_MARGIN = 1.1
"""A contender is cut if its samples exceed the limit by this factor, which is more than noise."""


def interleaved(
    samplers: Mapping[str, Sampler],
    *,
    rounds: int,
    seconds: float,
    stop_above: Mapping[str, float] | None = None,
    at_most: Mapping[str, int] | None = None,
    done: Callable[[Mapping[str, list[float]]], Collection[str]] | None = None,
    clock: Callable[[], float] = monotonic,
) -> dict[str, list[float]]:
    """Sample every contender once per round, in reverse order in every other round (A B C C B A).

    Args:
        rounds: number of rounds, at least, however long they take.
        seconds: further rounds are taken until this time is used up, at most ``MAX_ROUNDS``.
        stop_above: limit of a contender's seconds per call. If its first samples all exceed the
            limit by ``CUT_MARGIN``, it is cut: it gets no more samples.
        at_most: samples of a contender, at most.
        done: the contenders whose samples say enough; asked after ``rounds`` rounds and every
            ``LOOK_EVERY`` from then on. They get no more samples; the run ends when all are done.

    Returns:
        The samples of each contender in seconds; sample i was taken in round i.
    """
    limits, most = stop_above or {}, at_most or {}
    samples: dict[str, list[float]] = {name: [] for name in samplers}
    running = list(samplers)
    end = clock() + seconds
    for i in range(max(rounds, MAX_ROUNDS)):
        if not running or (i >= rounds and clock() >= end):
            break
        for name in reversed(running) if i % 2 else running:
            samples[name].append(samplers[name]())
        running = [n for n in running if n not in limits or not is_cut(samples[n], limits[n])]
        running = [n for n in running if n not in most or len(samples[n]) < most[n]]
        taken = i + 1 - rounds
        if done is not None and taken >= 0 and taken % LOOK_EVERY == 0:
            enough = done(samples)
            running = [n for n in running if n not in enough]
    return samples


def is_cut(samples: list[float], limit: float) -> bool:
    """Whether the first samples are so far above the limit that a contender is cut."""
    first = samples[:CUT_AFTER]
    return len(first) == CUT_AFTER and min(first) > CUT_MARGIN * limit
