"""Merging: which winner of two databases stands, what is refused, and that nothing is lost."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.source_hash import source_hashes
from gdn_ops.codegen.variant import Variant
from gdn_ops.tuner.store.db import open_database
from gdn_ops.tuner.store.merge import merge
from gdn_ops.tuner.store.merged import Merged
from gdn_ops.tuner.store.store import Store
from tests.first_schema import first_schema
from tests.problems import DECODE, FORWARD
from tests.results import ENVIRONMENT, HANG, Bench, stage_key
from tests.tuner.store.test_store_rows import spoil

OTHER = replace(ENVIRONMENT, driver="591.0")
FAR = "2099-01-01T00:00:00.000000+00:00"


def win(bench: Bench, problem: Problem = FORWARD, *, stale: bool = False, **options: Any) -> int:
    """Set a winner that renders today; its sources are today's unless it is stale."""
    problem = problem.bucket()
    variant = options.pop("variant", None) or Variant.default("torch", problem)
    sources = None if stale else source_hashes(problem, variant)
    return bench.win(problem, variant=variant, sources=sources, **options)


def chunk_32() -> Variant:
    return Variant.of("torch", FORWARD.bucket(), stages={"torch_chunk": {"BT": 128}})


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "results.db")


@pytest.fixture
def other(tmp_path: Path) -> Bench:
    """The database of another machine of the same environment."""
    return Bench(tmp_path / "other.db")


@pytest.fixture
def elsewhere(tmp_path: Path) -> Bench:
    """The database of another machine with another driver."""
    return Bench(tmp_path / "elsewhere.db", OTHER)


def outcomes(merged: Merged) -> list[str]:
    return [verdict.outcome for verdict in merged.verdicts]


def current(bench: Bench) -> list[float]:
    return [winner.median for winner in bench.store.winners()]


def test_a_merge_brings_everything_once(bench: Bench, elsewhere: Bench) -> None:
    bench.record(stage_key(BK=32))  # so that row numbers differ between the two
    elsewhere.record(stage_key(BK=64), HANG)
    win(elsewhere, DECODE, median=1e-3)
    win(elsewhere, DECODE)
    before = elsewhere.path.read_bytes()
    merged = bench.store.merge(elsewhere.path)
    assert merged.added == {
        "environments": 1, "problems": 1, "runs": 1, "trials": 3, "winner_rows": 2,
    }  # fmt: skip
    again = bench.store.merge(elsewhere.path)
    assert (again.added, outcomes(again)) == ({}, ["kept"])
    assert again.verdicts[0].why == "stored already"
    assert elsewhere.path.read_bytes() == before
    winner = bench.store.winner(DECODE.bucket().id(), "h200")
    assert winner is not None
    assert winner.trial_id is not None
    trial = bench.store.trial(winner.trial_id)
    assert trial.outcome.median == winner.median == 2e-3
    assert bench.store.environment(trial.environment_id) == OTHER
    assert len(bench.store.winners(history=True)) == 2
    assert bench.store.database.faults() == []


def test_a_merge_brings_only_what_is_new_and_how_a_run_ended(bench: Bench, other: Bench) -> None:
    win(other)
    bench.store.merge(other.path)
    win(other, median=1e-3)
    other.close()
    merged = bench.store.merge(other.path)
    assert (merged.added, outcomes(merged)) == ({"trials": 1, "winner_rows": 1}, ["taken"])
    assert current(bench) == [1e-3]
    assert [run.status for run in bench.store.runs()] == ["running", "finished"]


@pytest.mark.parametrize(
    ("first", "then", "stands", "why"),
    [
        # in the same environment, another variant
        ({"median": 1e-3, "variant": "32"}, {"median": 3e-3}, 1e-3, "same environment: 1.00 ms"),
        ({"median": 3e-3, "variant": "32"}, {"median": 1e-3}, 1e-3, "same environment: 1.00 ms"),
        # the same variant: its newer time
        ({"median": 1e-3}, {"median": 3e-3}, 3e-3, "the same variant, measured later"),
        ({"median": 1e-3}, {"median": 3e-3, "predicted": True}, 1e-3, "the other is predicted"),
        ({"median": 1e-3, "predicted": True}, {"median": 3e-3}, 3e-3, "the other is predicted"),
        (
            {"median": 3e-3, "predicted": True},
            {"median": 1e-3, "predicted": True},
            1e-3,
            "predicted later",
        ),
        ({"median": 3e-3}, {"median": 1e-3, "stale": True}, 3e-3, "have changed since"),
        ({"median": 1e-3, "stale": True}, {"median": 3e-3}, 3e-3, "have changed since"),
    ],
)
def test_both_directions_of_a_merge_agree(
    bench: Bench,
    other: Bench,
    first: dict[str, Any],
    then: dict[str, Any],
    stands: float,
    why: str,
) -> None:
    if first.get("variant"):
        first = {**first, "variant": chunk_32()}
    win(other, **first)
    win(bench, **then)
    there = other.store.merge(bench.path)
    here = bench.store.merge(other.path)
    for side in (bench, other):
        assert current(side) == [stands]
        assert len(side.store.winners(history=True)) == 2
    assert why in there.verdicts[0].why
    assert outcomes(there) == ["taken" if stands == then["median"] else "kept"]
    # the first merge has settled it, and the second one hears of it
    assert set(outcomes(here)) <= {"taken", "kept", "withdrawn"}


def test_times_of_two_environments_are_not_compared(bench: Bench, elsewhere: Bench) -> None:
    win(bench, median=1e-3)
    win(elsewhere, median=3e-3, variant=chunk_32())
    (verdict,) = bench.store.merge(elsewhere.path).verdicts
    assert (verdict.outcome, current(bench)) == ("taken", [3e-3])
    assert "driver 591.0, not 590.1: times do not compare" in verdict.why


def test_the_order_of_the_sources_does_not_matter(tmp_path: Path) -> None:
    """Of the environment measured last the fastest, though a third one lies between."""
    paths = []
    for name, environment, options in (
        ("a", ENVIRONMENT, {"median": 1e-3, "variant": chunk_32()}),
        ("b", OTHER, {"median": 2e-3}),
        ("c", ENVIRONMENT, {"median": 3e-3}),
    ):
        side = Bench(tmp_path / f"{name}.db", environment)
        win(side, **options)
        paths.append(side.close())
    for number, order in enumerate(([0, 1, 2], [2, 1, 0], [1, 0, 2])):
        with open_database(tmp_path / f"{number}.db", create=True) as database:
            merged = merge(database, [paths[i] for i in order])
            assert [w.median for w in Store(database).winners()] == [1e-3]
            assert len(Store(database).winners(history=True)) == 3
        assert sorted(outcomes(merged)) == ["kept", "kept", "taken"]


def test_a_winner_that_a_source_retired_is_withdrawn(bench: Bench, other: Bench) -> None:
    row = win(other)
    bench.store.merge(other.path)
    other.store.retire_winner(row)
    merged = bench.store.merge(other.path)
    assert (outcomes(merged), bench.store.winners()) == (["withdrawn"], [])
    assert len(bench.store.winners(history=True)) == 1


def test_what_was_superseded_here_does_not_return(bench: Bench, other: Bench) -> None:
    win(other, median=1e-3)
    bench.store.merge(other.path)
    win(bench, median=3e-3)
    (verdict,) = bench.store.merge(other.path).verdicts
    assert (verdict.outcome, verdict.why) == ("kept", "stored already, and superseded")
    assert current(bench) == [3e-3]


def test_a_stored_winner_stays_if_what_replaced_it_is_refused(bench: Bench, other: Bench) -> None:
    win(other)
    bench.store.merge(other.path)
    win(other, median=1e-3)
    other.close()
    with closing(sqlite3.connect(other.path)) as connection, connection:
        connection.execute("""UPDATE winner_rows SET variant = '{"plan": "gone"}'""")
    assert outcomes(bench.store.merge(other.path)) == ["refused"]
    assert current(bench) == [2e-3]


def test_databases_that_contradict_each_other_cost_no_winner(bench: Bench, tmp_path: Path) -> None:
    win(bench, median=3e-3)
    win(bench, median=2e-3)
    bench.store.database.close()
    other = tmp_path / "other.db"
    other.write_bytes(bench.path.read_bytes())
    with closing(sqlite3.connect(other)) as connection, connection:
        connection.execute("UPDATE winner_rows SET superseded = created WHERE id = 2")
        connection.execute("UPDATE winner_rows SET superseded = NULL WHERE id = 1")
    merged = bench.store.merge(other)
    assert (outcomes(merged), current(bench)) == (["kept"], [2e-3])


@pytest.mark.parametrize(
    ("table", "column", "value", "why"),
    [
        ("winner_rows", "variant", '{"plan": "gone"}', "can no longer be rendered: unknown plan"),
        (
            "winner_rows",
            "variant",
            '{"plan": "torch", "stages": {"torch_chunk": {"BT": 77}}}',
            "can no longer be rendered: .*BT",
        ),
        ("winner_rows", "variant", '{"plan": "split", "interface": {"x": 1}}', "unknown axis"),
        ("winner_rows", "variant", "[1]", "variant: "),
        ("winner_rows", "median", 1e-9, "its time 0.00 us is not the 2.00 ms of its trial"),
        ("winner_rows", "median", 9e999, "median is inf seconds"),
        ("winner_rows", "created", FAR, "2099-01-01 is in the future"),
        ("winner_rows", "arch", "sm_80", "its architecture is sm_80; h200 is sm_90"),
        ("winner_rows", "provenance", "guessed", "unknown provenance"),
        ("winner_rows", "trial_id", 99, "points to row 99 of trials"),
        ("winner_rows", "problem_id", "none", "problem none, which is missing"),
        ("trials", "status", "wrong", "its trial is 'wrong'"),
        ("trials", "status", "slow", "points to row 1 of trials, which is missing or was refused"),
        ("trials", "config", "{", "points to row 1 of trials, which is missing or was refused"),
        ("trials", "run_id", 99, "points to row 1 of trials, which is missing or was refused"),
        ("environments", "device", b"\xff", "points to row 1 of environments"),
        ("problems", "facts", "[]", "points to row 1 of trials, which is missing or was refused"),
    ],
)
def test_a_row_that_cannot_be_used_is_refused_and_the_others_are_taken(
    bench: Bench, other: Bench, table: str, column: str, value: object, why: str
) -> None:
    win(bench, FORWARD, median=5e-3)
    win(other, FORWARD)
    decode = Bench(other.path.with_name("decode.db"), OTHER)
    win(decode, DECODE)
    spoil(other.close(), table, column, value)
    bench.store.add_problem(FORWARD.bucket().id(), FORWARD.bucket().facts())
    merged = merge(bench.store.database, [other.path, decode.close()])
    assert sorted(outcomes(merged)) == ["refused", "taken"]
    refused = next(v for v in merged.verdicts if v.outcome == "refused")
    assert re.search(why, refused.why), refused.why
    assert "row 1 of winner_rows of " in refused.why
    assert sorted(current(bench)) == [2e-3, 5e-3]
    assert bench.store.database.faults() == []


@pytest.mark.parametrize(
    "facts",
    [
        {"H": 3},
        {"tokens": "x"},
        {"final_state": "yes"},
        {"dtype": "int4"},
        {"K": 10**30},
    ],
)
def test_a_winner_whose_problem_is_not_as_its_name_says_is_refused(
    bench: Bench, other: Bench, facts: dict[str, Any]
) -> None:
    win(other, DECODE)
    other.store.add_problem(DECODE.bucket().id(), {**DECODE.bucket().facts(), **facts})
    merged = bench.store.merge(other.path)
    assert (outcomes(merged), bench.store.winners()) == (["refused"], [])
    assert "problem" in merged.verdicts[0].why


def test_an_environment_that_only_has_the_hash_of_ours_is_refused(
    bench: Bench, other: Bench
) -> None:
    win(other, median=1e-3)
    with closing(sqlite3.connect(other.close())) as connection, connection:
        connection.execute("UPDATE environments SET device = 'Faster GPU'")
    merged = bench.store.merge(other.path)
    assert "is stored with other content" in merged.refused[0].why
    assert (outcomes(merged), bench.store.winners()) == (["refused"], [])


def test_a_row_with_the_uid_of_ours_changes_nothing(bench: Bench, other: Bench) -> None:
    win(other)
    bench.store.merge(other.path)
    with closing(sqlite3.connect(other.close())) as connection, connection:
        connection.execute("UPDATE winner_rows SET median = 1e-9")
        connection.execute("UPDATE trials SET median = 1e-9")
    merged = bench.store.merge(other.path)
    assert "uid of a stored winner, and other content" in merged.verdicts[0].why
    assert (outcomes(merged), current(bench)) == (["refused"], [2e-3])


def test_an_unusable_stored_winner_gives_way(bench: Bench, other: Bench) -> None:
    bench.win()  # its variant has axes that do not exist
    win(other, stale=True, median=9e-3)
    (verdict,) = bench.store.merge(other.path).verdicts
    assert verdict.outcome == "taken" and not verdict.fresh
    assert verdict.why.startswith("the stored one cannot be used: its variant can no longer be")
    assert current(bench) == [9e-3]


def test_a_source_of_the_first_schema_is_taken_and_stays_as_it_is(
    bench: Bench, tmp_path: Path
) -> None:
    old = first_schema(tmp_path / "old.db")
    before = old.read_bytes()
    merged = bench.store.merge(old)
    assert outcomes(merged) == ["taken"] and not merged.verdicts[0].fresh
    assert old.read_bytes() == before
    assert {path.name for path in tmp_path.glob("old*")} == {"old.db"}


def test_a_merge_that_fails_at_its_end_changes_nothing(
    bench: Bench, other: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    win(other, DECODE)
    stop: Callable[..., None] = lambda *_: (_ for _ in ()).throw(KeyboardInterrupt())  # noqa: E731
    monkeypatch.setattr("gdn_ops.tuner.store.merge._Merging.end", stop)
    with pytest.raises(KeyboardInterrupt):
        bench.store.merge(other.path)
    assert bench.store.trials() == []
    assert list(bench.store.problems()) == [FORWARD.bucket().id()]
