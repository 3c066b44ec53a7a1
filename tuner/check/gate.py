"""The gate: whether pairs of times show that the head is slower than the base, or that it is not.

Each pair is two fresh processes, one per side, that ran one after the other. Pairs are taken until
a look decides: after 8, 12, 18 and 26 pairs both tests are made, each at a level of its own. The
levels of all looks add up to 0.01 for *regressed* and 0.05 for *passed*, so these are the bounds on
the probability of a false verdict however many looks there were (Pocock-like spending).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp, inf, log1p, nan

from gdn_ops.codegen.errors import InvalidInput
from gdn_ops.tuner.check.percentage import percent_text
from gdn_ops.tuner.check.signed_rank import centre, interval, p_greater, p_less
from gdn_ops.tuner.check.states import State

THRESHOLD = 0.03
FLOOR = 0.0
LARGEST = 100.0
"""Largest log ratio: times of one problem never differ by a factor of e^100."""


@dataclass(frozen=True)
class Look:
    """A number of pairs after which the gate decides, and the levels of its tests there."""

    pairs: int
    regressed: float
    passed: float


LOOKS = (
    Look(8, regressed=0.00424, passed=0.0212),
    Look(12, regressed=0.00160, passed=0.0080),
    Look(18, regressed=0.00200, passed=0.0100),
    Look(26, regressed=0.00216, passed=0.0108),
)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What counts as slower. Everything is a fraction of the base's time, e.g. 0.03 for 3 %.

    Args:
        threshold: a regression is estimated to be slower by more than this; a pass is shown to be
            slower by less.
        floor: a regression is also shown to be slower by more than this. 0.01 suits a noisy
            machine: it raises fewer false alarms, and leaves more rows inconclusive.
        noise: what is added to both, because sides that were measured apart differ by more than
            the code; 0 for pairs of one run.

    Raises:
        InvalidInput: not 0 <= floor <= threshold, or the threshold is 0, or the noise is below 0.
    """

    threshold: float = THRESHOLD
    floor: float = FLOOR
    noise: float = 0.0

    def __post_init__(self) -> None:
        threshold, floor = percent_text(self.threshold), percent_text(self.floor)
        if not 0 < self.threshold < inf:
            raise InvalidInput(
                f"a threshold of {threshold} must be > 0%, because no test shows that equal times "
                f"differ by less than nothing; give e.g. {percent_text(THRESHOLD)}."
            )
        if not 0 <= self.floor <= self.threshold:
            raise InvalidInput(
                f"a floor of {floor} must be >= 0% and at most the threshold, {threshold}; lower "
                "the floor or raise the threshold."
            )
        if not 0 <= self.noise < inf:
            raise InvalidInput(
                f"a noise of {percent_text(self.noise)} must be >= 0%; for pairs of one run leave "
                "it out."
            )

    @property
    def widened_threshold(self) -> float:
        return self.threshold + self.noise

    @property
    def widened_floor(self) -> float:
        return self.floor + self.noise


@dataclass(frozen=True)
class Decision:
    """What some pairs show.

    Args:
        state: ``PASSED``, ``IMPROVED``, ``REGRESSED`` or ``INCONCLUSIVE``; None: take more pairs.
        ratio: time of the head over time of the base (Hodges-Lehmann estimate); NaN without pairs.
        low, high: its 95 % interval; 0 and infinity if there are fewer than 6 pairs.
        note: a remark about the state, a sentence; may be empty.
    """

    state: State | None
    ratio: float
    low: float
    high: float
    note: str = ""


def decide(log_ratios: Sequence[float], limits: Limits) -> Decision:
    """Say what the pairs show so far.

    Call it after every pair, until its state is not None. Calling it at some of ``LOOKS`` only is
    allowed, and keeps both bounds.

    Args:
        log_ratios: log of the head's time over the base's time, one per pair.

    Raises:
        InvalidInput: a log ratio is not finite or its magnitude exceeds ``LARGEST``, or there are
            more pairs than at the last look.
    """
    _check(log_ratios)
    if not log_ratios:
        return Decision(None, nan, 0.0, inf)
    ratio, (low, high) = centre(log_ratios), interval(log_ratios)
    state = next((_at(k, log_ratios, limits) for k in LOOKS if k.pairs == len(log_ratios)), None)
    return Decision(state, exp(ratio), exp(low), exp(high))


def confirmed(first: Decision, second: Decision) -> Decision:
    """The verdict of an alarm and of a second run, whose pairs are independent of the first's.

    An alarm is confirmed if the second run says regressed too; else the second run's state holds,
    and the note says that the alarm was not confirmed. The estimate is always the second run's:
    that of the first one was selected for being high.

    Raises:
        InvalidInput: the first run did not say regressed.
    """
    if first.state is not State.REGRESSED:
        raise InvalidInput(
            f"a first run that found {first.state and first.state.value} is no alarm; "
            "confirm only regressions."
        )
    if second.state is State.REGRESSED:
        return second
    alarm = f"A first run found a ratio of {first.ratio:.3f}, which a second run did not confirm"
    if second.state is None:
        note = f"{alarm} before it was stopped."
        return replace(second, state=State.INCONCLUSIVE, note=note)
    return replace(second, note=f"{alarm}.")


def _at(look: Look, log_ratios: Sequence[float], limits: Limits) -> State | None:
    ratio = centre(log_ratios)
    threshold, floor = log1p(limits.widened_threshold), log1p(limits.widened_floor)
    if ratio > threshold and p_greater(log_ratios, floor) <= look.regressed:
        return State.REGRESSED
    if ratio < -threshold and p_less(log_ratios, -floor) <= look.regressed:
        return State.IMPROVED  # which passes too: the level is lower and the ratio's bound as well
    if p_less(log_ratios, threshold) <= look.passed:
        return State.PASSED
    return State.INCONCLUSIVE if look is LOOKS[-1] else None


def _check(log_ratios: Sequence[float]) -> None:
    for pair, value in enumerate(log_ratios, start=1):
        if not abs(value) <= LARGEST:
            raise InvalidInput(
                f"the log ratio of pair {pair} is {value}; its magnitude must be <= {LARGEST:g}, "
                "so drop pairs whose times are not > 0 and finite."
            )
    if len(log_ratios) > LOOKS[-1].pairs:
        raise InvalidInput(
            f"{len(log_ratios)} pairs are more than the gate's last look, after "
            f"{LOOKS[-1].pairs}; stop when it has decided."
        )
