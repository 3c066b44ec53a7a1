"""Stale winners: their top variants are timed again, and searched only if the order changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gdn_ops.codegen.axis import Config
from gdn_ops.dispatch.winner import Winner
from gdn_ops.dispatch.winners import read_winners
from gdn_ops.tuner.campaign import Result, run_campaign
from gdn_ops.tuner.interruption import Interruption
from gdn_ops.tuner.search import finals
from gdn_ops.tuner.search.retiming import stale_winners, why_stale
from gdn_ops.tuner.search.space_search import Options
from gdn_ops.tuner.spaces.space import Space, plans_for
from gdn_ops.tuner.workers.harness import Measured, Verdict
from tests.tuner.search.recorded import (
    CPU,
    PROBLEM,
    TOY_TEMPLATE,
    Bench,
    RecordedHarness,
    bench,
    stage_seconds,
    timing,
    toy_plans,
    toy_templates,
)

BEST = {"tile": 64, "warps": 2, "form": "fancy"}
SECOND = {"tile": 32, "warps": 2, "form": "fancy"}


@pytest.fixture
def single() -> Iterator[Space]:
    with toy_plans("single"):
        yield plans_for(PROBLEM, CPU)["single"][0][0]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "r.db"


def campaign(b: Bench, stale: dict[str, Winner] | None = None, *, again: bool = False) -> Result:
    return run_campaign(
        [PROBLEM], b.context, options=Options(trials=100, again=again),
        interruption=Interruption(), minutes=None, stale=stale,
    )  # fmt: skip


def retimed(
    path: Path, seconds: Callable[[str, Config], float] = stage_seconds, **more: Any
) -> tuple[Bench, Result]:
    """Tune, then time the winner again with templates that were edited since."""
    with bench(path, RecordedHarness()) as b:
        campaign(b)
    with (
        toy_templates(lambda name: f"edited {TOY_TEMPLATE}"),
        bench(path, RecordedHarness(seconds=seconds, **more)) as b,
    ):
        stale = stale_winners(read_winners(path), CPU.name, None)
        assert list(stale) == [PROBLEM.id()]
        return b, campaign(b, stale)


def winner_of(result: Result) -> Any:
    (winner,) = result.winners.values()
    return winner.variant["stages"]["single"]


def test_the_top_three_are_timed_again_and_nothing_else(path: Path, single: Space) -> None:
    b, result = retimed(path)
    assert winner_of(result) == BEST
    best = sorted(single.configs, key=lambda c: stage_seconds("single", c))[:3]
    assert {text for text, _ in b.harness.measured} == {str(single.variant(c)) for c in best}


def test_a_new_order_is_searched(path: Path, single: Space) -> None:
    def slower(stage: str, config: Config) -> float:
        return stage_seconds(stage, config) * (3.0 if config["tile"] == 64 else 1.0)

    b, result = retimed(path, slower)
    assert winner_of(result) == SECOND
    assert len(b.harness.measured) > len(single.configs)


def test_a_winner_that_is_wrong_now_is_replaced(path: Path, single: Space) -> None:
    wrong = {str(single.variant(BEST)): Verdict(status="wrong", message="error 0.3 of o")}
    _, result = retimed(path, verdicts=wrong)
    assert winner_of(result) == SECOND


def test_a_tie_is_not_a_new_order(path: Path, single: Space) -> None:
    def tied(stage: str, config: Config) -> float:
        second = {name: config[name] for name in SECOND} == SECOND
        return 0.8e-3 if second else stage_seconds(stage, config)

    b, _ = retimed(path, tied)
    assert len(b.harness.measured) == 3


def test_another_driver_makes_a_winner_stale(path: Path, single: Space) -> None:
    with bench(path, RecordedHarness()) as b:
        campaign(b)
        winner = replace(read_winners(path).winners[0], driver="590.1")
        assert why_stale(winner, "590.1") == why_stale(winner, None) == ""
        assert "driver 590.1, and 600.2 is loaded" in why_stale(winner, "600.2")
    assert stale_winners(read_winners(path), "h200", None) == {}


class Unsteady(RecordedHarness):
    """Its first measurements of finals vary by a factor of twelve."""

    noisy = 1

    def measure(self, problem: Any, variants: Any, *, stage: Any, effort: Any) -> Measured:
        measured = super().measure(problem, variants, stage=stage, effort=effort)
        if not effort.settle or self.noisy == 0:
            return measured
        self.noisy -= 1
        seconds = {name: each.median for name, each in measured.timings.items()}
        wide = {name: replace(timing(s), low=s / 4, high=3 * s) for name, s in seconds.items()}
        return replace(measured, timings=wide)


def test_finals_on_a_busy_machine_are_held_again(path: Path, single: Space) -> None:
    with bench(path, Unsteady()) as b:
        result = campaign(b)
    (winner,) = result.winners.values()
    assert winner.high < 2 * winner.low
    assert any(
        "vary by a factor of 12.0: measured again when the" in str(event) for event in b.events
    )


class Busy(RecordedHarness):
    """Its finals are measured with other processes on the cores; the times agree."""

    calm = False
    finals = 0

    def measure(self, problem: Any, variants: Any, *, stage: Any, effort: Any) -> Measured:
        measured = super().measure(problem, variants, stage=stage, effort=effort)
        if effort.settle:
            self.finals += 1
            conditions = {"cores_of_others": 1.9, "cores": 2, "threads": 1}
            return replace(measured, conditions={} if self.calm else conditions)
        return measured

    def wait_until_calm(self, seconds: float) -> bool:
        return self.calm


def test_a_winner_of_a_busy_machine_is_doubtful_though_its_times_agree(
    path: Path, single: Space
) -> None:
    why = "other processes used 1.9 of 2 cores while it was measured"
    for run in range(4):
        with bench(path, Busy()) as b:
            campaign(b)
            # it is held to finals again in two more runs, and not for ever
            assert b.harness.finals == (run < 3)
            assert any(f"doubtful ({why})" in str(event) for event in b.events) == (run < 3)
        assert read_winners(path).winners[0].doubtful == why
    with bench(path, Busy()) as b:
        b.harness.calm = True
        campaign(b, again=True)
    assert not read_winners(path).winners[0].doubtful


def test_what_stays_doubtful_is_said_to_be_and_not_finished(path: Path, single: Space) -> None:
    harness = Unsteady()
    harness.noisy = finals.MOST_MEASUREMENTS
    with bench(path, harness) as b:
        campaign(b)
        assert any("doubtful" in str(event) for event in b.events)
        assert "vary by a factor of 12.0" in read_winners(path).winners[0].doubtful
    with bench(path, RecordedHarness()) as b:
        campaign(b)
        assert b.harness.efforts, "the finals are held again, and only these"
        assert all(effort.settle for effort in b.harness.efforts)
        assert not read_winners(path).winners[0].doubtful
