"""The files of a merge: sources that cannot be read, the destination, and what a failure leaves."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from gdn_ops.dispatch.winners import read_winners
from gdn_ops.errors import InvalidInput, ResultsError
from gdn_ops.results_path import shipped_database
from gdn_ops.tuner.store.merge_files import merge_files
from tests.first_schema import first_schema
from tests.problems import DECODE
from tests.results import Bench
from tests.tuner.store.test_merge import outcomes, win


@pytest.fixture
def source(tmp_path: Path) -> Path:
    bench = Bench(tmp_path / "source.db")
    win(bench)
    return bench.close()


def listing(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def sql(path: Path, script: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:6000])


def cut_at_a_page(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: -4096 * 3])


def zeroed_page(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-4096 * 3 : -4096 * 2] = bytes(4096)
    path.write_bytes(bytes(data))


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: path.unlink(), "there is no results database .*name another file"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "is a folder, not a results database"),
    "no database": (lambda path: path.write_bytes(b"text " * 999), "is not an SQLite database"),
    "empty": (lambda path: path.write_bytes(b""), "is empty; name another file"),
    "cut": (cut, "is corrupt|is damaged"),
    "cut at a page": (cut_at_a_page, "is corrupt|is damaged"),
    "a page of zeros": (zeroed_page, "is corrupt|is damaged"),
    "newer": (lambda path: sql(path, "PRAGMA user_version = 99"), "has schema version 99"),
    "another program's": (lambda path: sql(path, "PRAGMA application_id = 7"), "another program"),
    "without a table": (
        lambda path: sql(path, "DROP VIEW winners; DROP TABLE winner_rows"),
        "has no table winner_rows",
    ),
    "with a view for a table": (
        lambda path: sql(
            path,
            "DROP VIEW winners; DROP TABLE winner_rows; CREATE VIEW winner_rows AS SELECT 1",
        ),
        "has no table winner_rows",
    ),
    "with a trigger": (
        lambda path: sql(
            path, "CREATE TRIGGER t AFTER UPDATE ON runs BEGIN DELETE FROM trials; END"
        ),
        "has the trigger 't'",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("new", [True, False])
def test_a_source_that_cannot_be_read_leaves_everything_as_it_was(
    tmp_path: Path, source: Path, fault: str, new: bool
) -> None:
    spoil, message = FAULTS[fault]
    good = Bench(tmp_path / "good.db")
    win(good, DECODE)
    good.close()
    destination = tmp_path / "here.db"
    if not new:
        Bench(destination).close()
    spoil(source)
    before = listing(tmp_path)
    with pytest.raises(InvalidInput, match=message) as caught:
        merge_files([good.path, source], destination)
    assert str(source) in str(caught.value) and "Nothing was merged." in str(caught.value)
    assert "gdn-merge-" not in str(caught.value), "a private copy is not the user's"
    assert listing(tmp_path) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_source_is_refused(tmp_path: Path, source: Path) -> None:
    source.chmod(0)
    with pytest.raises(InvalidInput, match="cannot be opened"):
        merge_files([source], tmp_path / "here.db")


def test_the_destination_is_no_source(tmp_path: Path, source: Path) -> None:
    (tmp_path / "link.db").symlink_to(source)
    (tmp_path / "hard.db").hardlink_to(source)
    for name in ("source.db", "link.db", "hard.db", "x/../source.db"):
        with pytest.raises(InvalidInput, match="both a source and the destination"):
            merge_files([tmp_path / name], source)
    with pytest.raises(InvalidInput, match="ships with gdn-ops and must not be written"):
        merge_files([source], shipped_database())


def test_a_new_destination_is_made_whole_or_not_at_all(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination = tmp_path / "deep" / "here.db"
    with monkeypatch.context() as patch:
        stop: Callable[..., None] = lambda *_: (_ for _ in ()).throw(KeyboardInterrupt())  # noqa: E731
        patch.setattr("gdn_ops.tuner.store.merge._Merging.end", stop)
        with pytest.raises(KeyboardInterrupt):
            merge_files([source], destination)
    assert list(destination.parent.iterdir()) == []
    merge_files([source, source], destination)
    assert [path.name for path in destination.parent.iterdir()] == ["here.db"]
    assert len(read_winners(destination).winners) == 1


def test_a_destination_that_another_process_made_meanwhile_is_kept(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination = tmp_path / "here.db"
    monkeypatch.setattr("gdn_ops.tuner.store.merge_files.exists", lambda _: False)
    destination.write_text("theirs")
    with pytest.raises(ResultsError, match="exists; it was left as it is"):
        merge_files([source], destination)
    assert destination.read_text() == "theirs"
    assert {path.name for path in tmp_path.iterdir()} == {"here.db", "source.db"}


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs a folder nobody may write to")
def test_a_destination_that_cannot_be_written_is_named(source: Path) -> None:
    with pytest.raises(ResultsError, match=r"/proc/here\.db") as caught:
        merge_files([source], Path("/proc/here.db"))
    assert ".part" not in str(caught.value)


@pytest.mark.parametrize("kind", ["none", "current", "old"])
def test_a_dry_run_writes_nothing(tmp_path: Path, source: Path, kind: str) -> None:
    destination = tmp_path / "here.db"
    if kind == "current":
        win(here := Bench(destination), DECODE)
        here.close()
    elif kind == "old":
        first_schema(destination)
    before = listing(tmp_path)
    dry = merge_files([source], destination, dry_run=True)
    assert listing(tmp_path) == before
    assert dry == merge_files([source], destination)
    assert outcomes(dry) == ["taken"]


def test_a_source_that_is_being_written_is_read_as_it_is(tmp_path: Path) -> None:
    busy = Bench(tmp_path / "busy.db")
    win(busy)
    with busy.store.database.write():
        merged = merge_files([busy.path], tmp_path / "here.db")
    assert outcomes(merged) == ["taken"]
    assert len(busy.store.winners()) == 1
