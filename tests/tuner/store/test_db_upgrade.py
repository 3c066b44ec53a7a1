"""Upgrades of the results database: every revision, its backup, and what a failure leaves."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from gdn_ops.dispatch import results_file
from gdn_ops.dispatch.results_file import APPLICATION_ID, SCHEMA_VERSION
from gdn_ops.errors import ResultsError
from gdn_ops.tuner.store import db, migrations
from gdn_ops.tuner.store.db import open_database
from gdn_ops.tuner.store.models import TRIAL_STATUSES, Base
from gdn_ops.tuner.store.store import Store
from tests.first_schema import HASH, at_revision, first_schema
from tests.problems import FORWARD
from tests.results import SOURCES, Bench, stage_key

SCRIPT = ScriptDirectory.from_config(migrations.configuration(None))  # type: ignore[arg-type]
REVISIONS = [script.revision for script in reversed(list(SCRIPT.walk_revisions()))]
OLD_ROWS = """
INSERT INTO problems (id, facts) VALUES ('old', '{"H": 2}');
INSERT INTO runs (uid, workload, target, seed, options, status, started)
    VALUES ('run', 'quickstart', 'cpu', 0, '{}', 'running', '2025-01-01T00:00:00.000000+00:00');
"""


def with_rows(path: Path, revision: str) -> None:
    """A database as the version of gdn-ops that had this revision as its last one left it."""
    at_revision(path, revision)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(OLD_ROWS)


def pragma(path: Path, name: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def test_revisions_are_numbered_and_the_readers_know_the_last() -> None:
    assert [int(revision) for revision in REVISIONS] == list(range(1, SCHEMA_VERSION + 1))


def test_an_empty_file_becomes_a_database(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    path.touch()
    with open_database(path, create=False) as database:
        assert database.faults() == []
    assert pragma(path, "user_version") == SCHEMA_VERSION
    assert pragma(path, "application_id") == APPLICATION_ID


@pytest.mark.parametrize("revision", REVISIONS)
def test_every_earlier_revision_upgrades_with_its_rows(tmp_path: Path, revision: str) -> None:
    path = tmp_path / "results.db"
    with_rows(path, revision)
    with open_database(path, create=False) as database, database.read() as session:
        connection = session.connection()
        assert connection.exec_driver_sql("SELECT facts FROM problems").scalar() == '{"H": 2}'
        assert connection.exec_driver_sql("SELECT uid FROM runs").scalar() == "run"
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    assert pragma(path, "user_version") == SCHEMA_VERSION


def test_rows_of_the_first_schema_are_kept_and_known_for_nothing(tmp_path: Path) -> None:
    path = first_schema(tmp_path / "results.db")
    with open_database(path, create=False) as database:
        store = Store(database)
        (trial,) = store.trials()
        assert (trial.outcome.median, trial.sources) == (2e-3, None)
        assert not trial.applies_to("torch-1", SOURCES)
        assert store.known_trial(trial.key, 1, variant_id="torch-1", sources=SOURCES) is None
        winner = store.winner(FORWARD.bucket().id(), "h200")
        assert winner is not None and winner.trial_id == trial.id
        assert database.faults() == []
    with closing(sqlite3.connect(path)) as connection:
        query = "SELECT hash, template_hash FROM environments"
        assert connection.execute(query).fetchall() == [(HASH, "abc")], "nothing is lost"


def test_an_upgraded_table_still_holds_to_its_words(tmp_path: Path) -> None:
    path = first_schema(tmp_path / "results.db")
    open_database(path, create=False).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for status in TRIAL_STATUSES:
            connection.execute("UPDATE trials SET status = ?", (status,))
        for spoilt in (
            "status = 'slow'",
            "scope = 'none'",
            "stage = 'o'",
            "median = 0, status = 'ok'",
        ):
            with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
                connection.execute(f"UPDATE trials SET {spoilt}")


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Turn this gdn-ops into the next one, whose new revision takes the given steps."""

    def release(*steps: str) -> None:
        scripts = tmp_path / "scripts"
        shutil.copytree(SCRIPT.dir, scripts, ignore=shutil.ignore_patterns("__pycache__"))
        head = f'from alembic import op\nrevision = "{SCHEMA_VERSION + 1:04}"\n'
        body = "".join(f"\n    {step}" for step in steps)
        text = f'{head}down_revision = "{REVISIONS[-1]}"\ndef upgrade():{body}\n'
        (scripts / "versions" / "next.py").write_text(text)
        monkeypatch.setattr(migrations, "SCRIPTS", str(scripts))
        for module in (db, migrations, results_file):
            monkeypatch.setattr(module, "SCHEMA_VERSION", SCHEMA_VERSION + 1)

    return release


def test_an_upgrade_keeps_a_backup(tmp_path: Path, release: Callable[..., None]) -> None:
    path = tmp_path / "results.db"
    with_rows(path, REVISIONS[-1])
    release('op.execute("DELETE FROM problems")')
    open_database(path, create=False).close()
    assert pragma(path, "user_version") == SCHEMA_VERSION + 1
    backup = path.with_name(f"results.db.schema-{SCHEMA_VERSION}.bak")
    with closing(sqlite3.connect(backup)) as connection:
        assert connection.execute("SELECT id FROM problems").fetchall() == [("old",)]
    assert pragma(backup, "user_version") == SCHEMA_VERSION


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("raise RuntimeError('stop')", RuntimeError),
        ('op.execute("INSERT INTO trials (id) VALUES (1)")', ResultsError),
    ],
)
def test_a_failed_upgrade_leaves_the_file_as_it_was(
    tmp_path: Path, release: Callable[..., None], fault: str, error: type[Exception]
) -> None:
    path = tmp_path / "results.db"
    with_rows(path, REVISIONS[-1])
    release('op.execute("DROP TABLE winner_rows")', 'op.execute("DELETE FROM runs")', fault)
    with pytest.raises(error):
        open_database(path, create=False)
    assert pragma(path, "user_version") == SCHEMA_VERSION
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT uid FROM runs").fetchall() == [("run",)]
        assert connection.execute("SELECT count(*) FROM winner_rows").fetchall() == [(0,)]


def test_an_upgrade_that_leaves_rows_pointing_nowhere_is_undone(
    tmp_path: Path, release: Callable[..., None]
) -> None:
    bench = Bench(tmp_path / "results.db")
    bench.record(stage_key(BK=32))
    path = bench.close()
    release('op.execute("DELETE FROM problems")')
    with pytest.raises(ResultsError, match="refer to missing rows, the first in table trials"):
        open_database(path, create=False)
    assert pragma(path, "user_version") == SCHEMA_VERSION
