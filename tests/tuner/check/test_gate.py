"""The gate: its levels, its verdicts, and what must not change them."""

from __future__ import annotations

from math import inf, isnan, log, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdn_ops.codegen.errors import InvalidInput
from gdn_ops.tuner.check.gate import LOOKS, Decision, Limits, Look, confirmed, decide
from gdn_ops.tuner.check.states import State

PAIRS = st.sampled_from([look.pairs for look in LOOKS])
STEPS = st.sampled_from([-0.08, -0.05, -0.031, -0.02, -0.01, 0.0, 0.01, 0.02, 0.031, 0.05, 0.08])
"""Log ratios near the limits, with ties."""
PLACES = st.floats(-0.1, 0.1).map(lambda x: round(x, 4))
RUNS = PAIRS.flatmap(lambda n: st.lists(STEPS | PLACES, min_size=n, max_size=n))
SHIFTED = st.builds(lambda run, by: [x + by for x in run], RUNS, STEPS)
LIMITS = st.builds(Limits, floor=st.sampled_from([0.0, 0.01]), noise=st.sampled_from([0.0, 0.02]))


def tails(n: int) -> list[float]:
    """Entry s: the probability that the ranks below the centre add up to s or less.

    Counted as the partitions of each sum into distinct parts of at most n.
    """
    ways = [[0] * (n * (n + 1) // 2 + 1) for _ in range(n + 1)]
    ways[0][0] = 1
    for part in range(1, n + 1):
        for total in range(len(ways[0])):
            taken = ways[part - 1][total - part] if total >= part else 0
            ways[part][total] = ways[part - 1][total] + taken
    return [sum(ways[n][: s + 1]) / 2**n for s in range(len(ways[n]))]


def attained(n: int, level: float) -> int:
    """The highest sum of ranks that the test at this level still rejects."""
    return max(s for s, p in enumerate(tails(n)) if p <= level)


def run(n: int, below: int, *, at: float, step: float = 1e-6) -> list[float]:
    """Log ratios near ``at``, whose ranks below it add up to ``below``."""
    signs = [1] * n
    for rank in range(n, 0, -1):
        if rank <= below:
            below -= rank
            signs[rank - 1] = -1
    return [at + sign * rank * step for rank, sign in enumerate(signs, start=1)]


def test_the_levels_add_up_to_the_bounds() -> None:
    assert [look.pairs for look in LOOKS] == [8, 12, 18, 26]
    assert sum(look.regressed for look in LOOKS) == pytest.approx(0.01)
    assert sum(look.passed for look in LOOKS) == pytest.approx(0.05)


@pytest.mark.parametrize("look", LOOKS, ids=lambda look: look.pairs)
def test_each_level_is_used_as_far_as_the_distribution_allows(look: Look) -> None:
    limits = Limits(threshold=0.03, floor=0.03)  # so that the estimate does not decide
    n, at = look.pairs, log(1.03)
    most = attained(n, look.regressed)
    assert decide(run(n, most, at=at), limits).state is State.REGRESSED
    assert decide(run(n, most + 1, at=at), limits).state is not State.REGRESSED
    most = attained(n, look.passed)
    assert decide([2 * at - x for x in run(n, most, at=at)], limits).state is State.PASSED
    after = decide([2 * at - x for x in run(n, most + 1, at=at)], limits).state
    assert after is (State.INCONCLUSIVE if look is LOOKS[-1] else None)


def test_the_attained_levels_at_8_pairs() -> None:
    assert tails(8)[attained(8, LOOKS[0].regressed)] == 1 / 256
    assert tails(8)[attained(8, LOOKS[0].passed)] == 5 / 256


def test_a_regression_needs_its_size_as_well() -> None:
    # all 8 pairs are slower, by less than the threshold in the first case
    assert decide([0.028] * 8, Limits()).state is State.PASSED
    assert decide([0.031] * 8, Limits()).state is State.REGRESSED
    # shown to be > 1, and neither estimated > 1.03 nor shown to be < 1.03
    mixed = [0.005] * 4 + [0.04] * 4
    assert decide(mixed, Limits()).state is None


def test_an_improvement_is_a_regression_with_sides_swapped() -> None:
    assert decide([-0.031] * 8, Limits()).state is State.IMPROVED
    assert decide([-0.028] * 8, Limits()).state is State.PASSED
    # one pair of 8 shows enough for a pass, and too little for an improvement
    assert decide([-0.05] * 7 + [0.02], Limits()).state is State.PASSED


@given(SHIFTED, LIMITS)
def test_swapped_sides_swap_the_verdicts(log_ratios: list[float], limits: Limits) -> None:
    here, there = decide(log_ratios, limits), decide([-x for x in log_ratios], limits)
    assert (here.state is State.REGRESSED) == (there.state is State.IMPROVED)
    assert (here.state is State.IMPROVED) == (there.state is State.REGRESSED)
    assert here.ratio == pytest.approx(1 / there.ratio)
    assert (here.low, here.high) == pytest.approx((1 / there.high, 1 / there.low))


@given(SHIFTED, LIMITS, st.randoms(use_true_random=False))
def test_the_order_of_pairs_does_not_matter(
    log_ratios: list[float], limits: Limits, random: object
) -> None:
    shuffled = log_ratios[:]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert decide(shuffled, limits) == decide(log_ratios, limits)


ORDER = (State.IMPROVED, State.PASSED, None, State.INCONCLUSIVE, State.REGRESSED)


@given(SHIFTED, LIMITS, st.sampled_from([0.0, 0.001, 0.02, 0.05]))
def test_a_slower_head_never_looks_better(
    log_ratios: list[float], limits: Limits, by: float
) -> None:
    before, after = decide(log_ratios, limits), decide([x + by for x in log_ratios], limits)
    assert ORDER.index(after.state) >= ORDER.index(before.state)
    assert after.ratio == pytest.approx(before.ratio * 2.718281828459045**by)


@given(st.integers(1, 26), LIMITS)
def test_verdicts_come_at_looks_only(n: int, limits: Limits) -> None:
    state = decide([0.5] * n, limits).state
    assert state is (State.REGRESSED if n in (8, 12, 18, 26) else None)


def test_pairs_that_show_nothing_are_inconclusive_after_the_last_look() -> None:
    log_ratios: list[float] = []
    while (decision := decide(log_ratios, Limits())).state is None:
        size = 0.01 * len(log_ratios)
        log_ratios.append(size if len(log_ratios) % 2 else -size)
    assert (decision.state, len(log_ratios)) == (State.INCONCLUSIVE, 26)
    assert decision.low < 1 < decision.high


def test_noise_widens_threshold_and_floor() -> None:
    assert decide([0.04] * 8, Limits()).state is State.REGRESSED
    assert decide([0.04] * 8, Limits(noise=0.02)).state is State.PASSED
    assert decide([-0.04] * 8, Limits(noise=0.02)).state is State.PASSED
    # the estimate is over 1.05, and the floor of 1.02 is not shown to be exceeded
    few = [0.01] * 2 + [0.08] * 6
    assert decide(few, Limits()).state is State.REGRESSED
    assert decide(few, Limits(noise=0.02)).state is None


def test_equal_times_are_zeros_and_not_votes() -> None:
    # 8 zeros would be 8 pairs at or above the floor
    assert decide([0.0] * 8, Limits()).state is State.PASSED
    assert decide([0.0] * 2 + [0.05] * 6, Limits()).state is None


def test_few_pairs_have_a_ratio_and_no_interval() -> None:
    decision = decide([log(1.5)] * 3, Limits())
    assert decision.ratio == pytest.approx(1.5)
    assert (decision.low, decision.high, decision.state) == (0.0, inf, None)
    assert isnan(decide([], Limits()).ratio)


@pytest.mark.parametrize("value", [nan, inf, -inf, 101.0])
def test_an_impossible_ratio_is_refused(value: float) -> None:
    with pytest.raises(InvalidInput, match=r"log ratio of pair 2 is .* must be <= 100"):
        decide([0.0, value], Limits())


def test_more_pairs_than_the_last_look_are_refused() -> None:
    with pytest.raises(InvalidInput, match="27 pairs are more than the gate's last look, after 26"):
        decide([0.0] * 27, Limits())


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"threshold": 0.0}, "threshold of 0% must be > 0%"),
        ({"threshold": nan}, "threshold of nan% must be > 0"),
        ({"threshold": inf}, "threshold of inf% must be > 0"),
        ({"floor": -0.01}, "floor of -1% must be >= 0%"),
        ({"floor": 0.04}, r"floor of 4% .* at most the threshold, 3%"),
        ({"floor": nan}, "floor of nan"),
        ({"noise": -0.1}, "noise of -10% must be >= 0%"),
        ({"noise": inf}, "noise of inf"),
    ],
)
def test_limits_that_make_no_gate_are_refused(given: dict[str, float], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        Limits(**given)


def found(state: State | None, ratio: float = 1.1) -> Decision:
    return Decision(state, ratio, ratio - 0.01, ratio + 0.01)


def test_an_alarm_is_confirmed_by_a_second_one_only() -> None:
    first = found(State.REGRESSED)
    assert confirmed(first, found(State.REGRESSED, 1.06)) == found(State.REGRESSED, 1.06)
    for state in (State.PASSED, State.IMPROVED, State.INCONCLUSIVE):
        verdict = confirmed(first, found(state, 1.01))
        assert (verdict.state, verdict.ratio) == (state, 1.01)
        assert "ratio of 1.100, which a second run did not confirm." in verdict.note


def test_a_second_run_that_was_stopped_confirms_nothing() -> None:
    verdict = confirmed(found(State.REGRESSED), found(None))
    assert verdict.state is State.INCONCLUSIVE
    assert "did not confirm before it was stopped." in verdict.note


@pytest.mark.parametrize("state", [State.PASSED, None])
def test_only_alarms_are_confirmed(state: State | None) -> None:
    with pytest.raises(InvalidInput, match="is no alarm"):
        confirmed(found(state), found(State.REGRESSED))
