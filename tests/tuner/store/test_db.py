"""The results database as a file: faults, kills and full disks."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from gdn_ops.dispatch.results_file import SCHEMA_VERSION
from gdn_ops.dispatch.winners import read_winners
from gdn_ops.errors import ResultsBusy, ResultsError
from gdn_ops.results_path import shipped_database
from gdn_ops.tuner.store import db
from gdn_ops.tuner.store.db import open_database, publish
from gdn_ops.tuner.store.store import Store
from tests.results import Bench, stage_key


def test_a_connection_keeps_what_it_commits(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "results.db"
    with open_database(path, create=True) as database, database.read() as session:
        ask = session.connection().exec_driver_sql
        assert ask("PRAGMA journal_mode").scalar() == "wal"
        assert ask("PRAGMA synchronous").scalar() == 2  # FULL
        assert ask("PRAGMA foreign_keys").scalar() == 1
        assert ask("PRAGMA busy_timeout").scalar() == 60_000


def damaged(path: Path, fault: str) -> Path:
    """Put a file that is no usable database at a path."""
    if fault == "garbage":
        path.write_bytes(b"not a database at all " * 100)
        return path
    if fault == "folder":
        path.mkdir()
        return path
    if fault == "another program's":
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        return path
    Bench(path).close()
    if fault == "newer":
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA user_version = 99")
    else:
        path.write_bytes(path.read_bytes()[:6000])
    return path


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("garbage", "is not an SQLite database.*move the file away"),
        ("folder", "is a folder, not a results database"),
        ("another program's", "database of another program.*name another file"),
        (
            "newer",
            f"schema version 99; this version of gdn-ops reads versions up to {SCHEMA_VERSION}",
        ),
        ("cut", "is corrupt.*recover"),
    ],
)
def test_a_damaged_database_is_named_and_left_alone(
    tmp_path: Path, fault: str, message: str
) -> None:
    path = damaged(tmp_path / "results.db", fault)
    before = path.read_bytes() if path.is_file() else None
    for action in (
        lambda: open_database(path, create=True),
        lambda: open_database(path, create=False, writable=False),
        lambda: read_winners(path),
        lambda: publish(path, tmp_path / "out.db"),
    ):
        with pytest.raises(ResultsError, match=message) as caught:
            action()
        assert str(path) in str(caught.value)
    assert before is None or path.read_bytes() == before


def test_a_missing_database_is_only_made_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "none" / "results.db"
    for writable in (True, False):
        with pytest.raises(ResultsError, match=r"there is no results database .*`gdn tune`"):
            open_database(path, create=False, writable=writable)
    assert not path.parent.exists()


def test_a_path_below_a_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "below" / "results.db"
    with pytest.raises(ResultsError, match=r"folder .*file/below .*or name another file"):
        open_database(path, create=True)
    monkeypatch.setenv("GDN_RESULTS_DB", str(path))
    with pytest.raises(ResultsError, match=r"folder .*file/below .*or set GDN_RESULTS_DB"):
        open_database(path, create=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_read_only_file_is_refused_at_once(tmp_path: Path) -> None:
    path = Bench(tmp_path / "results.db").close()
    path.chmod(0o444)
    with pytest.raises(ResultsError, match="is not writable"):
        open_database(path, create=False)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_database_in_a_read_only_folder_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "media"
    folder.mkdir()
    bench = Bench(folder / "results.db")
    bench.win()
    path = bench.close()
    path.chmod(0o444)
    folder.chmod(0o555)
    try:
        with open_database(path, create=False, writable=False) as database:
            assert len(Store(database).winners()) == 1
    finally:
        folder.chmod(0o755)


def test_a_lock_that_stays_is_found_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Bench(tmp_path / "results.db").close()
    monkeypatch.setattr(db, "BUSY_SECONDS", 0.01)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(ResultsBusy, match=r"another process has locked"):
            open_database(path, create=False)
        connection.execute("ROLLBACK")
    open_database(path, create=False).close()


def test_a_database_opened_to_read_cannot_be_written(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "results.db")
    bench.close()
    with open_database(bench.path, create=False, writable=False) as database:
        bench.store.database = database
        with pytest.raises(ResultsError, match="is not writable"):
            bench.record(stage_key(BK=32))
        assert bench.store.trials() == []


def test_the_shipped_database_is_read_only_by_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ResultsError, match=r"must not be written; use your own database"):
        open_database(shipped_database(), create=True)
    shipped = Bench(tmp_path / "shipped.db").close()
    (tmp_path / "link.db").symlink_to(shipped)
    monkeypatch.setattr(db, "shipped_database", lambda: shipped)
    with pytest.raises(ResultsError, match="must not be written"):
        open_database(tmp_path / "link.db", create=False)
    open_database(shipped, create=False, writable=False).close()


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "results.db")
    kept = [bench.record(stage_key(BK=32))]
    with bench.store.database.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(ResultsError, match=r"disk .*is full \(\d+ bytes free\).*free some space"):
        while len(kept) < 500:
            kept.append(bench.record(stage_key(BK=32)))
    assert [trial.id for trial in bench.store.trials()] == kept
    assert bench.store.database.faults() == []


def test_a_published_copy_leaves_wal_mode(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "results.db")
    bench.win()
    shipped = tmp_path / "shipped.db"
    shipped.write_text("the release before")
    publish(bench.path, shipped)
    bench.close()
    assert [w.problem_id for w in read_winners(shipped).winners] == list(bench.store.problems())
    assert {path.name for path in tmp_path.glob("shipped.db*")} == {"shipped.db"}


CREATE = """
import sys
from gdn_ops.tuner.store.db import open_database
open_database(sys.argv[1], create=True)
"""
CHILD = """
import sys
from pathlib import Path
from tests.results import Bench, stage_key
bench = Bench(Path(sys.argv[1]))
while True:
    print(bench.record(stage_key(BK=32)), flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_a_kill_loses_no_recorded_trial(tmp_path: Path) -> None:
    path, reported, rng = tmp_path / "results.db", set[int](), random.Random(0)
    for _ in range(5):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(path)],
            stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3],
        )  # fmt: skip
        assert child.stdout is not None
        for _ in range(rng.randint(1, 40)):
            reported.add(int(child.stdout.readline()))
        child.kill()
        reported |= {int(line) for line in child.stdout.read().splitlines(keepends=True)
                     if line.endswith("\n")}  # fmt: skip
        assert child.wait() == -signal.SIGKILL
    bench = Bench(path)
    assert reported <= {trial.id for trial in bench.store.trials()}
    assert len(reported) >= 5
    assert bench.store.database.faults() == []
    # the last run is this one; every killed one is known as such
    assert [run.status for run in bench.store.runs()] == ["interrupted"] * 5 + ["running"]


def test_processes_that_start_together_share_a_database(tmp_path: Path) -> None:
    # each child creates the file itself: Bench alone would copy an empty one over another child's
    script = CREATE + CHILD.replace("while True", "for _ in range(5)")
    children = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path / "results.db")],
            stdout=subprocess.DEVNULL, cwd=Path(__file__).parents[3],
        )
        for _ in range(3)
    ]  # fmt: skip
    assert [child.wait() for child in children] == [0, 0, 0]
    assert len(Bench(tmp_path / "results.db").store.trials()) == 15
