from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdn_ops.errors import InvalidInput
from gdn_ops.tuner.measure.statistics import MIN_ROUNDS, contending, decided, estimate, ratio, tied

SECONDS = st.floats(1e-7, 1e3)
SAMPLES = st.lists(SECONDS, min_size=1, max_size=30)
ROUNDS = st.lists(st.tuples(SECONDS, SECONDS), min_size=MIN_ROUNDS, max_size=20)


def columns(rounds: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [a for a, _ in rounds], [b for _, b in rounds]


@given(SAMPLES)
def test_an_interval_holds_its_median_and_lies_within_the_samples(samples: list[float]) -> None:
    result = estimate(samples)
    assert result.median == float(np.median(samples))
    assert min(samples) <= result.low <= result.median <= result.high <= max(samples)


@given(SAMPLES, st.randoms())
def test_an_estimate_does_not_depend_on_the_order_of_samples(samples, random) -> None:
    shuffled = random.sample(samples, len(samples))
    assert estimate(shuffled) == estimate(samples) == estimate(samples)


@given(SAMPLES, st.integers(-8, 8))
def test_an_estimate_scales_with_its_samples(samples: list[float], power: int) -> None:
    result, scaled = estimate(samples), estimate([x * 2.0**power for x in samples])
    assert scaled.median == result.median * 2.0**power
    assert (scaled.low, scaled.high) == (result.low * 2.0**power, result.high * 2.0**power)


def test_an_interval_covers_the_true_median_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    runs = random.lognormal(mean=math.log(2.0), sigma=0.1, size=(300, 15))
    intervals = [estimate(run.tolist()) for run in runs]
    covered = sum(e.low <= 2.0 <= e.high for e in intervals)
    assert 270 <= covered < 300  # 285 expected of a 95 % interval


def test_one_slow_sample_hardly_moves_an_interval() -> None:
    calm = [1.0, 1.01, 1.02, 1.03, 1.04, 1.05, 1.06, 1.07, 1.08]
    assert estimate([*calm[:-1], 100.0]).high < 1.1


@pytest.mark.parametrize("samples", [[], [0.0], [1.0, -1.0], [math.nan, 1.0], [1.0, math.inf]])
def test_what_is_no_timing_is_refused(samples: list[float]) -> None:
    with pytest.raises(InvalidInput):
        estimate(samples)
    with pytest.raises(InvalidInput):
        ratio(samples, [1.0, 1.0])


@given(ROUNDS)
def test_the_ratio_turned_round_is_its_inverse(rounds) -> None:
    a, b = columns(rounds)
    there, back = ratio(a, b), ratio(b, a)
    assert there.median == pytest.approx(1 / back.median)
    assert (there.low, there.high) == (pytest.approx(1 / back.high), pytest.approx(1 / back.low))
    assert there.low <= there.median <= there.high


@given(st.lists(SECONDS, min_size=MIN_ROUNDS, max_size=20), st.floats(1.001, 10.0))
def test_what_slows_whole_rounds_cancels(drift: list[float], factor: float) -> None:
    slower = [factor * x for x in drift]
    assert ratio(slower, drift).median == pytest.approx(factor)
    assert not tied(slower, drift)
    assert tied(drift, drift)


@given(ROUNDS)
def test_a_tie_is_mutual_and_agrees_with_the_ratio(rounds) -> None:
    a, b = columns(rounds)
    between = ratio(a, b)
    assert tied(a, b) == tied(b, a) == (between.low <= 1 <= between.high)


@given(ROUNDS)
def test_rounds_that_only_one_has_are_left_out(rounds) -> None:
    a, b = columns(rounds)
    assert ratio([*a, 1e3, 1e-7], b) == ratio(a, b)


def test_too_few_rounds_separate_nothing() -> None:
    assert tied([1.0, 1.0], [9.0, 9.0])
    assert not tied([1.0, 1.0, 1.0], [9.0, 9.0, 9.0])


def test_overlapping_noise_is_a_tie() -> None:
    random = np.random.default_rng(1)
    a, b = 1 + 0.05 * random.standard_normal((2, 12))
    assert tied(a.tolist(), b.tolist())
    assert not tied((1.2 * a).tolist(), b.tolist())


def test_all_are_decided_once_the_fastest_is_known_or_tied() -> None:
    steady = [1.0 + 0.001 * i for i in range(10)]
    assert decided({"a": steady, "b": [1.5 * x for x in steady]}) == {"a", "b"}
    assert decided({"a": steady, "b": list(steady)}) == {"a", "b"}, "a tie"
    assert decided({"a": steady}) == {"a"}
    crossing = [1.0 + 0.04 * (-1) ** i for i in range(10)]
    assert decided({"a": steady, "b": crossing}) == set()


def test_what_is_certain_to_lose_is_decided_before_the_fastest_is_known() -> None:
    wide = [1.0 + 0.1 * i for i in range(10)]
    assert decided({"a": wide, "b": [3 * x for x in wide]}) == {"b"}
    assert decided({"a": wide, "b": [1.01 * x for x in wide]}) == set(), "it may tie"


def test_a_variant_taken_out_early_is_never_the_fastest() -> None:
    slowed_down = [1.0] * 5 + [2.0, 2.5] * 8
    samples = {"a": slowed_down, "b": [1.1] * 5}
    assert contending(samples) == ["a"]
    assert decided(samples) == {"b"}, "the time of a is not known, but b is slower"
