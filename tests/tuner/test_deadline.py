"""Deadlines: remaining time, shares of it, and none at all."""

from __future__ import annotations

from math import inf
from types import SimpleNamespace

import pytest

from gdn_ops.tuner import deadline as module
from gdn_ops.tuner.deadline import NO_DEADLINE, Deadline


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def test_a_deadline_passes_and_then_leaves_nothing(clock: SimpleNamespace) -> None:
    deadline = Deadline.after(65.0)
    assert (deadline.passed, deadline.remaining, str(deadline)) == (False, 65.0, "1:05")
    clock.now += 70.0
    assert (deadline.passed, deadline.remaining, str(deadline)) == (True, 0.0, "0:00")
    assert deadline.share(4, least=20.0) == deadline


def test_no_deadline_never_passes_and_its_shares_are_unlimited(clock: SimpleNamespace) -> None:
    clock.now = 1e12
    assert not NO_DEADLINE.passed and not NO_DEADLINE.limited
    assert NO_DEADLINE.remaining == inf
    assert NO_DEADLINE.share(3) == NO_DEADLINE.earlier(5.0) == NO_DEADLINE
    assert str(NO_DEADLINE) == "no limit"


@pytest.mark.parametrize(
    ("parts", "least", "seconds"),
    [(4, 0.0, 15.0), (4, 20.0, 20.0), (4, 90.0, 60.0), (0, 0.0, 60.0)],
)
def test_a_share_is_equal_or_its_least_and_within_the_deadline(
    parts: int, least: float, seconds: float
) -> None:
    assert Deadline.after(60.0).share(parts, least=least) == Deadline.after(seconds)
