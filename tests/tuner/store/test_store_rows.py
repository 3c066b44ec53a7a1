"""One row that anybody may have spoilt costs that row, is named, and stops no tuning."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sized
from contextlib import closing
from pathlib import Path

import pytest

from gdn_ops.dispatch.winners import read_winners
from gdn_ops.errors import ResultsError
from gdn_ops.tuner.campaign import run_campaign
from gdn_ops.tuner.interruption import Interruption
from gdn_ops.tuner.search.space_search import Options
from gdn_ops.tuner.spaces.space import Space, plans_for
from gdn_ops.tuner.store.db import open_database, publish
from gdn_ops.tuner.store.store import Store
from tests.problems import DECODE, FORWARD
from tests.results import Bench
from tests.tuner.search.recorded import CPU, PROBLEM, RecordedHarness, bench, toy_plans

TRIAL_VALUES = [
    ("median", "x"), ("median", 9e999), ("low", "x"), ("created", 5), ("created", b"\xff"),
    ("created", "2025-01-01"), ("config", "[1]"), ("config", "{"), ("config", '{"BK": [32]}'),
    ("config", "[" * 100_000), ("config", '{"a":' * 40 + "1" + "}" * 40), ("interface", '"x"'),
    ("samples", '{"a": 1}'), ("samples", '["x"]'), ("errors", '{"o": "x"}'), ("errors", "[]"),
    ("samples", "[1e999]"), ("samples", "[-1.0]"), ("errors", f'{{"o": {10**400}}}'),
    ("resources", "3"), ("sources", '["x"]'), ("sources", '{"chunk_o": []}'), ("message", b"\x80"),
    ("status", "slow"), ("plan", b"\xff"),
]  # fmt: skip
WINNER_VALUES = [
    ("median", "x"), ("high", 9e999), ("reference", "x"), ("created", "yesterday"),
    ("variant", "[1]"), ("variant", "[" * 100_000), ("provenance", "guessed"), ("arch", b"\xff"),
]  # fmt: skip
PROBLEM_VALUES = [("facts", "{"), ("facts", "[]"), ("facts", "[" * 100_000)]
EVERY_VALUE = [
    (table, column, value)
    for table, values in (
        ("trials", TRIAL_VALUES), ("winner_rows", WINNER_VALUES), ("problems", PROBLEM_VALUES),
    )
    for column, value in values
]  # fmt: skip
FIRST_VALUES = {(table, column): value for table, column, value in reversed(EVERY_VALUE)}
ONE_PER_COLUMN = [
    case if case[2] is FIRST_VALUES[case[:2]] else pytest.param(*case, marks=pytest.mark.exhaustive)
    for case in EVERY_VALUE
]
"""A run reads each value in the same way as the test of every value does."""


def spoil(path: Path, table: str, column: str, value: object, *, every: bool = False) -> None:
    """Write anything at all into the first row of a table, or every one, past every check."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        where = "" if every else f"WHERE rowid = (SELECT min(rowid) FROM {table})"
        query = f"UPDATE {table} SET {column} = ? {where}"
        assert connection.execute(query, (value,)).rowcount >= 1


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database with two trials, two winners and two problems."""
    b = Bench(tmp_path / "results.db")
    b.win(FORWARD)
    b.win(DECODE)
    return b.close()


@pytest.mark.parametrize(("table", "column", "value"), EVERY_VALUE)
def test_a_malformed_row_is_skipped_and_named_once(
    path: Path, table: str, column: str, value: object
) -> None:
    notes: list[str] = []
    with open_database(path, create=False) as database:
        store = Store(database, warn=notes.append)
        spoil(path, table, column, value)
        read: dict[str, Callable[[], Sized]] = {
            "trials": store.trials, "winner_rows": store.winners, "problems": store.problems,
        }  # fmt: skip
        for _ in range(2):
            assert len(read[table]()) == 1
    (note,) = notes
    assert f" of {table}, which is malformed: " in note


@pytest.mark.parametrize(("column", "value"), WINNER_VALUES)
def test_a_malformed_winner_does_not_stand_and_can_be_replaced(
    path: Path, column: str, value: object
) -> None:
    spoil(path, "winner_rows", column, value)
    b = Bench(path)
    with pytest.warns(UserWarning, match="row 1 of winner_rows, which is malformed"):
        assert b.store.winner(FORWARD.bucket().id(), "h200") is None
    b.win(FORWARD, median=1e-3)
    winner = b.store.winner(FORWARD.bucket().id(), "h200")
    assert winner is not None and winner.median == 1e-3


@pytest.fixture
def single() -> Iterator[Space]:
    with toy_plans("single"):
        yield plans_for(PROBLEM, CPU)["single"][0][0]


@pytest.mark.filterwarnings("ignore:skipped row")
@pytest.mark.parametrize(("table", "column", "value"), ONE_PER_COLUMN)
def test_a_run_goes_on_over_malformed_rows(
    tmp_path: Path, single: Space, table: str, column: str, value: object
) -> None:
    path, options = tmp_path / "r.db", Options(trials=3, again=True)
    other = PROBLEM.__class__.from_facts({**PROBLEM.facts(), "tokens": 128})
    for problems in ([other, PROBLEM], [PROBLEM]):
        with bench(path, RecordedHarness()) as b:
            result = run_campaign(
                problems, b.context, options=options, interruption=Interruption(), minutes=None
            )
            assert list(result.winners) == [problem.id() for problem in problems]
        spoil(path, table, column, value, every=True)


def test_a_text_of_other_bytes_costs_no_more_than_itself(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE trials SET message = CAST(x'80' AS TEXT)")
    with open_database(path, create=False) as database:
        assert [t.outcome.message for t in Store(database).trials()] == ["\ufffd"] * 2


@pytest.mark.parametrize(
    "damage", [b"CREATE TABLE problems \xff", b"CREATE \xff\xfeBLE problems ("]
)
def test_bytes_that_are_no_text_in_the_schema_are_a_corrupt_file(path: Path, damage: bytes) -> None:
    whole = b"CREATE TABLE problems ("
    assert whole in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(whole, damage.ljust(len(whole))))
    for action in (
        lambda: open_database(path, create=True),
        lambda: open_database(path, create=False, writable=False),
        lambda: read_winners(path),
        lambda: publish(path, path.with_name("out.db")),
    ):
        with pytest.raises(ResultsError, match=r"is corrupt.*\.recover"):
            action()
