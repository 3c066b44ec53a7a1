"""Medians with bootstrap intervals, and whether two variants can be told apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, isfinite

import numpy as np
from numpy.typing import NDArray

from gdn_ops.codegen.errors import InvalidInput

CONFIDENCE = 0.95
RESAMPLES = 2000
LEAST_ROUNDS = 3
"""Rounds below which nothing separates two variants."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A median with the bounds of its interval."""

    median: float
    low: float
    high: float


def estimate(samples: Sequence[float], *, seed: int = 0) -> Estimate:
    """Return the median of timings and its 95 % percentile-bootstrap interval.

    Args:
        samples: at least one time, in seconds (or any positive unit).
        seed: of the resampling; the same samples and seed give the same interval.

    Raises:
        InvalidInput: there is no sample, or one is not a positive finite number.
    """
    values = np.sort(_checked(samples))  # so that their order does not matter
    low, high = _interval(values, np.asarray, seed)
    return Estimate(float(np.median(values)), low, high)


def ratio(a: Sequence[float], b: Sequence[float], *, seed: int = 0) -> Estimate:
    """Return how many times longer ``a`` takes than ``b``, with its interval.

    Sample i of both is round i of one interleaved run, so the ratio is taken round by round: what
    slows a whole round (another process, a warm machine) cancels. Rounds that only one of the two
    has are left out.

    Raises:
        InvalidInput: as ``estimate``.
    """
    rounds = min(len(a), len(b))
    # in logs the ratio of b to a is exactly the inverse of that of a to b
    logs = np.log(_checked(a)[:rounds]) - np.log(_checked(b)[:rounds])
    low, high = _interval(logs, np.exp, seed)
    return Estimate(float(np.exp(np.median(logs))), low, high)


def tied(a: Sequence[float], b: Sequence[float], *, seed: int = 0) -> bool:
    """Whether an interleaved run cannot tell which of two variants is the faster one.

    They are tied when the interval of their ratio holds 1, or when they share fewer than
    ``LEAST_ROUNDS`` rounds.
    """
    if min(len(a), len(b)) < LEAST_ROUNDS:
        return True
    between = ratio(a, b, seed=seed)
    return between.low <= 1.0 <= between.high


def _checked(samples: Sequence[float]) -> Array:
    values = np.asarray(samples, dtype=np.float64)
    if values.size == 0:
        raise InvalidInput("0 samples have no median; time at least one round.")
    lowest, highest = float(values.min()), float(values.max())
    if not (isfinite(lowest) and lowest > 0 and highest < inf):
        raise InvalidInput(
            f"samples from {lowest} to {highest} are no timings; every one must be finite and "
            "above 0 seconds, so time more calls a sample."
        )
    return values


def _interval(values: Array, finish: Callable[[Array], Array], seed: int) -> tuple[float, float]:
    """The percentile-bootstrap interval of the median (Efron, 1979), after ``finish``.

    Quantiles are taken at observed medians ("lower", "higher"): between two clusters of timings no
    time was seen, so no bound is put there.
    """
    draws = np.random.default_rng(seed).integers(values.size, size=(RESAMPLES, values.size))
    medians = np.median(values[draws], axis=1)
    tail = (1 - CONFIDENCE) / 2
    low = np.quantile(medians, tail, method="lower")
    high = np.quantile(medians, 1 - tail, method="higher")
    bounds = finish(np.asarray([low, high]))
    return float(bounds[0]), float(bounds[1])
