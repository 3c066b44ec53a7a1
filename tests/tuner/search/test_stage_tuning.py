"""Stages tuned apart: sums, shares of the time, what is left out, what completes a sum."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from gdn_ops.codegen.axis import Config
from gdn_ops.tuner import deadline as deadline_module
from gdn_ops.tuner.deadline import NO_DEADLINE, Deadline
from gdn_ops.tuner.report.progress import Note, SearchStarted
from gdn_ops.tuner.search import problem_tuning
from gdn_ops.tuner.search.problem_tuning import SKIP_FACTOR, tune_problem
from gdn_ops.tuner.search.space_search import Found, Options
from gdn_ops.tuner.search.stage_tuning import MIN_STAGE_SECONDS, StageTuning, Sum
from gdn_ops.tuner.search.trial_runner import TrialRunner
from gdn_ops.tuner.spaces.space import Space, StageSpaces, plans_for
from tests.tuner.search.recorded import (
    CPU,
    PROBLEM,
    RecordedHarness,
    bench,
    stage_seconds,
    toy_plans,
)

ALL = Options(trials=100)


class Clock:
    """A monotonic clock that goes on by what is said to take time."""

    def __init__(self) -> None:
        self.now = 1000.0

    def pass_(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(deadline_module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.fixture
def pair() -> Iterator[list[StageSpaces]]:
    with toy_plans("pair"):
        yield plans_for(PROBLEM, CPU)["pair"]


class Recorded:
    """A tuning whose searches take all the time they get and find the best; logs their shares."""

    def __init__(self, clock: Clock, *, first: float = 0.0, late: float = 0.0) -> None:
        self.clock, self.each, self.late = clock, first, late
        self.shares: list[tuple[str, float | None]] = []
        self.timed: list[str] = []

    def first(self, space: Space) -> Found:
        self.timed.append(space.label)
        self.clock.pass_(self.each)
        return self.found(space, space.initial_config)

    def search(self, space: Space, until: Deadline) -> Found:
        self.shares.append((space.label, until.remaining if until.limited else None))
        if until.limited:
            self.clock.now = until.moment + self.late
        return min((self.found(space, c) for c in space.configs), key=lambda f: f.seconds)

    def found(self, space: Space, config: Config) -> Found:
        seconds = stage_seconds(space.stage, {**dict(space.interface), **config})
        return Found(space, config, seconds)

    def tune(self, interfaces: list[StageSpaces], *, seconds: float | None) -> list[Sum]:
        until = NO_DEADLINE if seconds is None else Deadline.after(seconds)
        tuning = StageTuning(time_initial=self.first, search=self.search)
        return tuning.tune(interfaces, ready=lambda spaces: spaces, deadline=until)


def test_short_time_is_shared_by_the_stages_of_the_first_interface(
    clock: Clock, pair: list[StageSpaces]
) -> None:
    recorded = Recorded(clock)
    (total,) = recorded.tune(pair, seconds=12.0)
    assert recorded.shares == [("second BT=16 store=io", 6.0), ("first BT=16", 6.0)]
    assert dict(total.variant.stages) == {"first": (("tile", 64),), "second": (("warps", 2),)}


def test_much_time_is_shared_by_all_stages_and_in_between_a_share_has_a_floor(
    clock: Clock, pair: list[StageSpaces]
) -> None:
    recorded = Recorded(clock)
    recorded.tune(pair, seconds=600.0)
    assert recorded.shares[0][1] == pytest.approx(600.0 / 6)
    between = Recorded(clock)
    between.tune(pair, seconds=3 * MIN_STAGE_SECONDS)
    assert between.shares[0][1] == pytest.approx(MIN_STAGE_SECONDS)


def test_an_interface_whose_search_came_too_late_competes_with_what_it_begins_with(
    clock: Clock, pair: list[StageSpaces]
) -> None:
    recorded = Recorded(clock, late=60.0)
    (total,) = recorded.tune(pair, seconds=10.0)
    assert [label for label, _ in recorded.shares] == ["second BT=16 store=io"], "the slowest"
    assert dict(total.variant.stages) == {"first": (("tile", 32),), "second": (("warps", 2),)}
    assert total.seconds == pytest.approx(1.2e-3 + 1.0e-3)


def test_only_the_first_interface_may_time_its_stages_too_late(
    clock: Clock, pair: list[StageSpaces]
) -> None:
    recorded = Recorded(clock, first=4.0)
    (total,) = recorded.tune(pair, seconds=6.0)
    assert recorded.timed == ["first BT=16", "second BT=16 store=io"]
    assert recorded.shares == [], "8 seconds have passed"
    assert total.seconds == pytest.approx(1.2e-3 + 1.3e-3)
    assert recorded.tune(pair, seconds=-1.0) == []


def test_what_is_not_ready_is_left_out(clock: Clock, pair: list[StageSpaces]) -> None:
    recorded = Recorded(clock)
    tuning = StageTuning(time_initial=recorded.first, search=recorded.search)
    sums = tuning.tune(
        pair, ready=lambda spaces: spaces if spaces is pair[-1] else None, deadline=NO_DEADLINE
    )
    assert [total.variant.interface for total in sums] == [pair[-1][0].interface]
    assert len(recorded.shares) == 2


def test_stages_are_tuned_apart_and_the_best_sum_wins(tmp_path: Path) -> None:
    with toy_plans("pair"), bench(tmp_path / "r.db", RecordedHarness()) as b:
        winner = tune_problem(TrialRunner(b.context, PROBLEM), options=ALL, deadline=NO_DEADLINE)
        assert winner is not None
        assert winner.variant["interface"]["BT"] == 32
        assert winner.variant["stages"] == {"first": {"tile": 64}, "second": {"warps": 2}}
        assert winner.median == pytest.approx(1.0e-3)
        stages = Counter(stage for _, stage in b.harness.measured)
        assert stages["first"] == 2 * 4, "each of two chunk sizes, whatever the storage"
        assert stages["second"] == 4 * 4
        searches = [e.space for e in b.events if isinstance(e, SearchStarted)]
        assert len(searches) == len(set(searches)) == 6


def test_an_interface_is_left_when_its_slowest_stage_takes_too_long(tmp_path: Path) -> None:
    def seconds(stage: str, config: Config) -> float:
        return stage_seconds(stage, config) * (10 if config["BT"] == 16 else 1)

    with toy_plans("pair"), bench(tmp_path / "r.db", RecordedHarness(seconds=seconds)) as b:
        tune_problem(TrialRunner(b.context, PROBLEM), options=ALL, deadline=NO_DEADLINE)
        searches = [e.space for e in b.events if isinstance(e, SearchStarted)]
        assert "second BT=16 store=io" in searches
        assert "first BT=16" not in searches


@pytest.mark.parametrize("seconds", [36.0, 44.0, 60.0])
def test_in_little_time_the_stages_are_still_tuned(
    clock: Clock, seconds: float, tmp_path: Path
) -> None:
    harness = RecordedHarness(before=lambda count: clock.pass_(4.0))
    with toy_plans("pair"), bench(tmp_path / "r.db", harness) as b:
        deadline = Deadline.after(seconds)
        winner = tune_problem(TrialRunner(b.context, PROBLEM), options=ALL, deadline=deadline)
        assert winner is not None
        best_default = min(
            sum(stage_seconds(s.stage, {**dict(s.interface), **(s.nearest_valid or {})}) for s in x)
            for x in plans_for(PROBLEM, CPU)["pair"]
        )
        assert winner.median < 0.99 * best_default
        assert [e for e in b.events if isinstance(e, SearchStarted)]


def test_an_outclassed_plan_takes_no_share_of_the_time(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seconds(stage: str, config: Config) -> float:
        return stage_seconds(stage, config) * (2 * SKIP_FACTOR if stage == "single" else 1)

    given: dict[str, Deadline] = {}

    def tune_plan(
        runner: TrialRunner, interfaces: list[StageSpaces], **more: Deadline
    ) -> list[Sum]:
        given[interfaces[0][0].plan] = more["deadline"]
        return []

    monkeypatch.setattr(problem_tuning, "_tune_plan", tune_plan)
    harness = RecordedHarness(seconds=seconds)
    with toy_plans("pair", "single"), bench(tmp_path / "r.db", harness) as b:
        runner = TrialRunner(b.context, PROBLEM)
        tune_problem(runner, options=ALL, deadline=Deadline.after(100.0))
        assert given == {"pair": Deadline.after(70.0)}, "all that the finals leave"
        assert any("plan single is skipped" in e.text for e in b.events if isinstance(e, Note))
