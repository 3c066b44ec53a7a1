"""Medians with bootstrap intervals, and whether the times of two variants differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite

import numpy as np
from numpy.typing import NDArray

from gdn_ops.codegen.errors import InvalidInput

CONFIDENCE = 0.95
RESAMPLES = 2000
MAX_TIE_RATIO = 1.02
"""A variant that is slower by more than this has lost, however wide the intervals are."""
SETTLED_WIDTH = 1.05
"""Upper over lower bound of an interval that is narrow enough to end a measurement."""
MIN_ROUNDS = 3
"""With fewer rounds two variants always count as tied."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A median with the bounds of its 95 % interval."""

    median: float
    low: float
    high: float


def estimate(samples: Sequence[float], *, seed: int = 0) -> Estimate:
    """Return the median of timings and its 95 % percentile-bootstrap interval.

    Args:
        samples: times in seconds, at least one.
        seed: seed of the resampling; the same samples and seed give the same interval.

    Raises:
        InvalidInput: there is no sample, or one is not finite and > 0.
    """
    values = np.sort(_checked(samples))  # so that the order of samples does not matter
    low, high = _interval(values, np.asarray, seed)
    return Estimate(float(np.median(values)), low, high)


def ratio(a: Sequence[float], b: Sequence[float], *, seed: int = 0) -> Estimate:
    """Return the median ratio of the times ``a`` over ``b``, with its interval.

    Sample i of both was taken in round i of one interleaved run. The ratio is taken round by round,
    so whatever slows a whole round, such as another process, cancels. Rounds that only one of the
    two has are left out.

    Raises:
        InvalidInput: as ``estimate``.
    """
    rounds = min(len(a), len(b))
    # with logs the ratio of b to a is exactly the inverse of the ratio of a to b
    logs = np.log(_checked(a)[:rounds]) - np.log(_checked(b)[:rounds])
    low, high = _interval(logs, np.exp, seed)
    return Estimate(float(np.exp(np.median(logs))), low, high)


def tied(a: Sequence[float], b: Sequence[float], *, seed: int = 0) -> bool:
    """Whether an interleaved run does not show which of two variants is faster.

    They are tied if the interval of their ratio contains 1, or if they have fewer than
    ``MIN_ROUNDS`` common rounds.
    """
    if min(len(a), len(b)) < MIN_ROUNDS:
        return True
    between = ratio(a, b, seed=seed)
    return between.low <= 1.0 <= between.high


def contending(samples: Mapping[str, Sequence[float]]) -> list[str]:
    """The variants of an interleaved run that were sampled to its end."""
    rounds = max(map(len, samples.values()))
    return [name for name, taken in samples.items() if len(taken) == rounds]


def decided(samples: Mapping[str, Sequence[float]]) -> set[str]:
    """The variants of an interleaved run that need no more samples.

    These are all, once the run shows which one is the fastest or which are tied with it: the
    interval of the fastest is narrow, and each other variant is slower for certain or tied within
    ``MAX_TIE_RATIO``. Before, they are those that are slower by more than this for certain.

    Args:
        samples: by variant. One that was taken out of the run has fewer than others. It is
            never the fastest, because what came later may have slowed only the others down.
    """
    left = contending(samples)
    fastest = min(left, key=lambda name: float(np.median(samples[name])))
    ratios = {name: ratio(samples[name], samples[fastest]) for name in left if name != fastest}
    own = estimate(samples[fastest])
    if own.high <= SETTLED_WIDTH * own.low and all(
        other.low > 1.0 or other.high <= MAX_TIE_RATIO for other in ratios.values()
    ):
        return set(samples)
    beaten = {name for name, other in ratios.items() if other.low > MAX_TIE_RATIO}
    return beaten | (set(samples) - set(left))


def _checked(samples: Sequence[float]) -> Array:
    values = np.asarray(samples, dtype=np.float64)
    if values.size == 0:
        raise InvalidInput("there are no samples; time at least one round.")
    lowest, highest = float(values.min()), float(values.max())
    if not (isfinite(lowest) and lowest > 0 and highest < inf):
        raise InvalidInput(
            f"samples range from {lowest} to {highest} seconds; every one must be finite and > 0, "
            "so time more calls per sample."
        )
    return values


def _interval(values: Array, finish: Callable[[Array], Array], seed: int) -> tuple[float, float]:
    """The percentile-bootstrap interval of the median (Efron, 1979), after ``finish``.

    The bounds are observed medians ("lower", "higher") and not interpolated ones, so that no bound
    lies in a gap between two clusters of times.
    """
    draws = np.random.default_rng(seed).integers(values.size, size=(RESAMPLES, values.size))
    medians = np.median(values[draws], axis=1)
    tail = (1 - CONFIDENCE) / 2
    low = np.quantile(medians, tail, method="lower")
    high = np.quantile(medians, 1 - tail, method="higher")
    bounds = finish(np.asarray([low, high]))
    return float(bounds[0]), float(bounds[1])
