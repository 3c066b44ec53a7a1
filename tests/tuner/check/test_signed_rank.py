"""The signed-rank test against every assignment of signs, and the interval against the test."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdn_ops.tuner.check.signed_rank import centre, interval, p_greater, p_less

TIED = st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=9)
"""Values with many ties and zeros."""
REAL = st.lists(st.floats(-2, 2).map(lambda x: round(x, 6)), min_size=6, max_size=12, unique_by=abs)


def by_enumeration(values: list[float]) -> Fraction:
    """The part of all assignments of signs whose sum of ranks is as high as the values' own."""
    sizes = [abs(v) for v in values]
    shared = [
        Fraction(2 * sum(s < size for s in sizes) + sum(s == size for s in sizes) + 1, 2)
        for size in sizes
    ]
    ranks = [rank for rank, size in zip(shared, sizes, strict=True) if size]
    own = sum(rank for rank, v in zip(shared, values, strict=True) if v > 0)
    sums = [
        sum((rank for rank, sign in zip(ranks, signs, strict=True) if sign), Fraction(0))
        for signs in product((False, True), repeat=len(ranks))
    ]
    return Fraction(sum(s >= own for s in sums), len(sums))


@given(TIED)
def test_the_test_is_exact_with_ties_and_zeros(values: list[float]) -> None:
    assert p_greater(values) == by_enumeration(values)
    assert p_less(values) == by_enumeration([-v for v in values])


def test_ties_are_where_the_distribution_of_untied_ranks_is_wrong() -> None:
    # that of the ranks 1 to 8 gives 7/256, which is too low
    assert p_greater([1.0] * 6 + [-1.0, 2.0]) == 8 / 256


@pytest.mark.parametrize(("n", "critical"), [(6, 0), (8, 3), (12, 13), (18, 40), (26, 98)])
def test_critical_values_are_those_of_published_tables(n: int, critical: int) -> None:
    """Sums of ranks up to which the one-sided test at 2.5 % rejects (Wilcoxon and Wilcox, 1964)."""

    def p(total: int) -> float:
        values = [float(rank) for rank in range(1, n + 1)]
        for rank in range(n, 0, -1):
            if rank <= total:
                total -= rank
                values[rank - 1] *= -1
        return p_greater(values)

    assert p(critical) <= 0.025 < p(critical + 1)


@given(
    st.permutations(range(1, 8)), st.lists(st.sampled_from([-1, 0, 1]), min_size=7, max_size=7),
    st.integers(0, 6), st.integers(-7, 7),
)  # fmt: skip
def test_a_higher_value_is_never_less_significant(
    sizes: list[int], signs: list[int], i: int, to: int
) -> None:
    """Zeros included, which is why they are ranked; equal magnitudes left out."""
    values = [float(2 * size * sign) for size, sign in zip(sizes, signs, strict=True)]
    raised = [*values[:i], max(values[i], 2.0 * to + 1), *values[i + 1 :]]
    assert p_greater(raised) <= p_greater(values)
    assert p_less(raised) >= p_less(values)


def test_without_ranks_of_zeros_a_zero_that_grows_would_count_less() -> None:
    rest = [-2.0, -4.0, -6.0, 8.0, 10.0]
    assert p_greater(rest) < p_greater([1.0, *rest]) < p_greater([0.0, *rest])


@given(REAL, st.integers(-3, 3))
def test_the_estimate_moves_with_the_values(values: list[float], by: int) -> None:
    moved = [v + by for v in values]
    assert centre(moved) == pytest.approx(centre(values) + by)
    assert interval(moved) == pytest.approx([bound + by for bound in interval(values)])
    assert p_greater(moved, by) == p_greater(values)


def test_the_estimate_is_the_median_of_the_pairs_means() -> None:
    # the means are 1, 1.5, 2, 2.5, 3 and 4
    assert centre([1.0, 4.0, 2.0]) == 2.25


@given(REAL)
def test_the_interval_holds_the_centres_that_the_test_does_not_reject(values: list[float]) -> None:
    low, high = interval(values)
    step = 1e-9  # Walsh averages of values with 6 decimals are further apart
    assert p_greater(values, low - step) <= 0.025 < p_greater(values, low + step)
    assert p_less(values, high + step) <= 0.025 < p_less(values, high - step)
    assert low <= centre(values) <= high


def test_few_values_have_no_interval() -> None:
    assert interval([0.1, 0.2, 0.3, 0.4, 0.5]) == (-inf, inf)
    assert interval([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]) == (0.1, 0.6)
