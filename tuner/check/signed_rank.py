"""The exact Wilcoxon signed-rank test, and the estimate and interval that belong to it.

``scipy.stats.wilcoxon(method="exact")`` is exact only if no two values have the same magnitude and
none is zero: it always uses the distribution of the ranks 1 to n, and rounds the sum of ranks
(scipy 1.17; its documentation says so too). Timers have steps, so their ratios do repeat. Here the
distribution is that of the ranks that the values have. Their signs are independent and fair under
the null hypothesis whatever the magnitudes are, so the test stays exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate, groupby
from math import inf
from statistics import median

DIGITS = 12
"""Decimals to which values count as equal: what the subtraction of logarithms rounds is smaller."""


def p_greater(values: Sequence[float], centre: float = 0.0) -> float:
    """The probability of ranks so high if the values were symmetric about ``centre``.

    Values of the same magnitude share the mean of their ranks. Values equal to ``centre`` are
    ranked and have no sign (Pratt, 1959): if they were removed before ranking, a higher value
    could make the result less significant.
    """
    differences = [round(value - centre, DIGITS) for value in values]
    ranks = _doubled_ranks(differences)
    signed = [(rank, value) for rank, value in zip(ranks, differences, strict=True) if value]
    below = sum(rank for rank, value in signed if value < 0)
    # the sum of the ranks above the centre is as high as it is if the rest is as low as it is
    return _null(tuple(sorted(rank for rank, _ in signed)))[below]


def p_less(values: Sequence[float], centre: float = 0.0) -> float:
    """The probability of ranks so low if the values were symmetric about ``centre``."""
    return p_greater([-value for value in values], -centre)


def centre(values: Sequence[float]) -> float:
    """The Hodges-Lehmann estimate: the median of the means of all pairs, self-pairs included."""
    return median(_walsh_averages(values))


def interval(values: Sequence[float], *, confidence: float = 0.95) -> tuple[float, float]:
    """The bounds between which the centre lies with at least this confidence.

    They are the lowest and the highest centre that the two-sided test does not reject. If there are
    so few values that it rejects none (fewer than 6 for 95 %), the bounds are infinite.
    """
    untied = _null(tuple(range(2, 2 * len(values) + 1, 2)))
    rejected = sum(p <= (1 - confidence) / 2 for p in untied[::2])
    if not rejected:
        return -inf, inf
    averages = sorted(_walsh_averages(values))
    return averages[rejected - 1], averages[-rejected]


def _walsh_averages(values: Sequence[float]) -> list[float]:
    return [(a + b) / 2 for i, a in enumerate(values) for b in values[: i + 1]]


def _doubled_ranks(values: Sequence[float]) -> list[int]:
    """Twice the ranks of the magnitudes, which is whole: shared ranks are means of two."""
    order = sorted(range(len(values)), key=lambda i: abs(values[i]))
    ranks = [0] * len(values)
    before = 0
    for _, group in groupby(order, key=lambda i: abs(values[i])):
        tied = list(group)
        for i in tied:
            ranks[i] = 2 * before + len(tied) + 1
        before += len(tied)
    return ranks


@lru_cache(maxsize=256)
def _null(ranks: tuple[int, ...]) -> tuple[float, ...]:
    """Entry s is the probability that a random subset of the ranks has a sum <= s."""
    counts = [1]
    for rank in ranks:
        shifted = [0] * rank + counts
        counts = [a + b for a, b in zip(counts + [0] * rank, shifted, strict=True)]
    return tuple(total / 2 ** len(ranks) for total in accumulate(counts))
