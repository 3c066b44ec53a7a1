"""The store: everything that was tried is kept, the winner has a history."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from math import isnan
from pathlib import Path
from typing import Any

import pytest

from gdn_ops.errors import InvalidInput, ResultsError, UnknownName
from gdn_ops.tuner.store.models import TRIAL_STATUSES
from gdn_ops.tuner.store.records import NewWinner, Outcome, TrialKey
from tests.problems import DECODE, FORWARD
from tests.results import ENVIRONMENT, HANG, OK, SOURCES, VARIANT, Bench, stage_key


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "results.db")


def test_a_trial_comes_back_as_it_went_in(bench: Bench) -> None:
    key = stage_key(BK=32, precision="tf32")
    trial = bench.store.trial(bench.record(key))
    assert trial.key == key
    assert (trial.run_id, trial.environment_id) == (bench.run_id, bench.environment_id)
    assert isnan(trial.outcome.errors["ht"])
    assert replace(trial.outcome, errors={}) == replace(OK, errors={})
    assert trial.created.utcoffset() is not None


def test_json_columns_are_json_for_every_reader(bench: Bench) -> None:
    trial = bench.record(stage_key(BK=32))
    with closing(sqlite3.connect(bench.path)) as connection:
        query = "SELECT json_extract(errors, '$.ht') FROM trials WHERE id = ?"
        assert connection.execute(query, (trial,)).fetchone() == ("nan",)


def test_every_outcome_is_kept(bench: Bench) -> None:
    for status in TRIAL_STATUSES:
        bench.record(stage_key(BK=32), replace(OK, status=status))
    assert [trial.outcome.status for trial in bench.store.trials()] == list(TRIAL_STATUSES)
    assert [t.outcome.status for t in bench.store.trials(status="spill")] == ["spill"]
    assert bench.store.trials(target="cpu") == []


def test_a_known_trial_is_the_latest_of_this_environment(bench: Bench, tmp_path: Path) -> None:
    key = stage_key(BK=32, BV=64)
    assert bench.known(key) is None
    bench.record(key)
    bench.record(key, HANG)
    known = bench.known(stage_key(BV=64, BK=32))
    assert known is not None
    assert known.outcome == HANG
    other = bench.store.add_environment(replace(ENVIRONMENT, driver="591.0"))
    found = bench.store.known_trial(key, other, variant_id=VARIANT.id, sources=SOURCES)
    assert found is None


def test_an_outcome_is_known_only_of_the_same_source(bench: Bench) -> None:
    key = stage_key(BK=32)
    bench.record(key)
    assert bench.known(key, {**SOURCES, "chunk_o": "edited"}) is None
    assert bench.known(key, None) is None, "what does not render today was not tried"
    bench.record(key, HANG, sources={**SOURCES, "chunk_o": "edited"})
    known = bench.known(key)
    assert known is not None
    assert known.outcome.status == "ok", "a later one of another source takes nothing away"
    bench.record(stage_key(BK=64), sources=None)
    assert bench.known(stage_key(BK=64)) is None


def test_a_stages_time_is_its_own_and_its_failure_may_be_anothers(bench: Bench) -> None:
    good, bad = stage_key(BK=32), stage_key(BK=64)
    bench.record(good)
    bench.record(bad, HANG)
    other_edited = {**SOURCES, "chunk_h": "edited"}
    assert bench.known(good, other_edited) is not None
    assert bench.known(bad) is not None
    assert bench.known(bad, other_edited) is None
    elsewhere = bench.store.known_trial(
        bad, bench.environment_id, variant_id="under another interface", sources=other_edited
    )
    assert elsewhere is not None, "a known hang is not run again under another interface"


def test_a_fault_of_the_environment_is_kept_and_never_known(bench: Bench) -> None:
    key = stage_key(BK=32)
    bench.record(key, Outcome(status="fault", message="no space left on device"))
    assert bench.known(key) is None
    bench.record(key)
    bench.record(key, Outcome(status="fault", message="no space left on device"))
    known = bench.known(key)
    assert known is not None and known.outcome.status == "ok"
    assert len(bench.store.trials()) == 3


def test_a_winner_may_be_retired_and_stays_as_history(bench: Bench) -> None:
    bench.store.retire_winner(bench.win())
    assert bench.store.winners() == []
    (winner,) = bench.store.winners(history=True)
    assert winner.superseded is not None
    with pytest.raises(ResultsError, match="no winner 99"):
        bench.store.retire_winner(99)


@pytest.mark.parametrize(
    "other",
    [
        stage_key(BK=64),
        stage_key(BK="32"),
        stage_key(DECODE, BK=32),
        stage_key(target="a100", BK=32),
        replace(stage_key(BK=32), plan="fused"),
        replace(stage_key(BK=32), stage="chunk_h"),
        replace(stage_key(BK=32), interface={"BT": 32}),
        replace(stage_key(BK=32), scope="plan", stage=None),
    ],
)
def test_what_was_tried_is_told_apart(other: TrialKey) -> None:
    assert other.config_hash != stage_key(BK=32).config_hash


def test_an_environment_is_stored_once(bench: Bench) -> None:
    assert bench.store.add_environment(ENVIRONMENT) == bench.environment_id
    assert bench.store.environment(bench.environment_id) == ENVIRONMENT
    with pytest.raises(ResultsError, match="no environment 99"):
        bench.store.environment(99)


def test_a_trial_needs_its_problem(bench: Bench) -> None:
    with pytest.raises(ResultsError, match="FOREIGN KEY"):
        bench.record(stage_key(DECODE, BK=32))
    assert bench.store.trials() == []


def test_a_run_that_was_killed_is_interrupted_by_the_next(bench: Bench) -> None:
    other = bench.store.start_run("quickstart", "cpu", seed=0, options={})
    again = bench.store.start_run("quickstart", "h200", seed=7, options={"trials": 8})
    bench.store.finish_run(again)
    statuses = {run.id: run.status for run in bench.store.runs()}
    assert statuses == {bench.run_id: "interrupted", other: "running", again: "finished"}
    run = bench.store.runs()[-1]
    assert (run.workload, run.seed, run.options) == ("quickstart", 7, {"trials": 8})
    assert run.finished is not None
    assert run.finished >= run.started
    with pytest.raises(UnknownName, match="run status"):
        bench.store.finish_run(again, "done")


def test_a_new_winner_makes_the_old_one_history(bench: Bench) -> None:
    bench.win(median=3e-3)
    latest = bench.win(median=2e-3)
    current = bench.store.winner(FORWARD.bucket().id(), "h200")
    assert current is not None
    assert (current.id, current.median, current.speedup) == (latest, 2e-3, 6e-3 / 2e-3)
    assert bench.store.winners() == [current]
    first, second = bench.store.winners(history=True)
    assert (first.median, second.superseded) == (3e-3, None)
    assert first.superseded == second.created


def test_winners_of_targets_and_problems_stand_beside_each_other(bench: Bench) -> None:
    bench.win()
    bench.win(target="a100", arch="sm_80")
    bench.win(DECODE)
    assert len(bench.store.winners()) == 3
    assert [w.target for w in bench.store.winners(target="a100")] == ["a100"]
    assert len(bench.store.winners(problem_id=FORWARD.bucket().id())) == 2


def test_a_prediction_gives_way_to_a_measurement_and_never_replaces_it(bench: Bench) -> None:
    bench.win(predicted=True)
    bench.win()
    with pytest.raises(ResultsError, match=r"prediction .* cannot replace it; measure the variant"):
        bench.win(predicted=True)
    assert [w.provenance for w in bench.store.winners()] == ["measured"]


def test_only_an_ok_trial_of_the_same_makes_a_winner(bench: Bench) -> None:
    winner = bench.winner()
    failed = bench.record(stage_key(BK=32), HANG)
    for wrong in (
        replace(winner, trial_id=failed),
        replace(winner, target="a100"),
        replace(winner, trial_id=99),
    ):
        with pytest.raises(ResultsError, match="trial"):
            bench.store.set_winner(wrong)
    assert bench.store.winners(history=True) == []


@pytest.mark.parametrize("change", [{"median": 0.0}, {"high": float("nan")}, {"reference": None}])
def test_a_winner_without_its_times_is_refused(bench: Bench, change: dict[str, Any]) -> None:
    winner: NewWinner = bench.winner()
    with pytest.raises(InvalidInput):
        replace(winner, **change)


def test_impossible_trials_are_refused() -> None:
    with pytest.raises(UnknownName, match="trial status 'slow'"):
        Outcome(status="slow")
    with pytest.raises(InvalidInput, match="no median"):
        Outcome(status="ok")
    with pytest.raises(InvalidInput, match="name a stage"):
        replace(stage_key(BK=32), stage=None)
