"""A file of winners: what is in it, that it is taken elsewhere, and that its bytes are fixed."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from gdn_ops.dispatch.winners import read_winners
from gdn_ops.errors import ResultsError
from gdn_ops.tuner.store.db import open_database
from gdn_ops.tuner.store.merge_files import merge_files
from gdn_ops.tuner.store.winners_file import write_winners
from tests.problems import DECODE, FORWARD
from tests.results import HANG, Bench, stage_key
from tests.tuner.store.test_merge import OTHER, outcomes, win


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Winners of two problems on h200 and one on a100, one of them with a history, and failures."""
    bench = Bench(tmp_path / "results.db")
    bench.record(stage_key(BK=32), HANG)
    win(bench, DECODE)
    win(bench, FORWARD, median=3e-3)
    win(bench, FORWARD)
    win(bench, FORWARD, target="a100", arch="sm_80", predicted=True)
    return bench


def test_it_holds_current_winners_and_their_proof_alone(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "winners.db"
    written = write_winners(bench.store.database, path)
    names = [(w.target, w.problem_id) for w in written.winners]
    forward, decode = FORWARD.bucket().id(), DECODE.bucket().id()
    assert names == [("a100", forward), ("h200", decode), ("h200", forward)]
    assert written.left_out == ()
    found = {(w.target, w.problem_id): w for w in read_winners(path).winners}
    assert found.keys() == set(names)
    assert (found["h200", forward].median, found["h200", forward].device) == (2e-3, "Test GPU")
    assert not found["h200", forward].stale
    with closing(sqlite3.connect(path)) as connection:
        counts = [
            connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("environments", "problems", "runs", "trials", "winner_rows")
        ]
        assert counts == [1, 2, 1, 2, 3]
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    with open_database(path, create=False) as database:
        assert database.faults() == []


def test_a_choice_of_targets_and_problems(bench: Bench, tmp_path: Path) -> None:
    database, path = bench.store.database, tmp_path / "winners.db"
    written = write_winners(database, path, targets={"h200"}, problems=[DECODE.bucket().id()])
    assert [(w.target, w.problem_id) for w in written.winners] == [("h200", DECODE.bucket().id())]
    with pytest.raises(ResultsError, match=r"no winner to write .* has winners of a100, h200"):
        write_winners(database, tmp_path / "none.db", targets={"b200"})
    assert not (tmp_path / "none.db").exists()


def test_it_is_merged_elsewhere_and_then_has_nothing_new(bench: Bench, tmp_path: Path) -> None:
    path, there = tmp_path / "winners.db", tmp_path / "there.db"
    write_winners(bench.store.database, path)
    assert outcomes(merge_files([path], there)) == ["taken"] * 3
    merged = merge_files([path], bench.path)
    assert (merged.added, outcomes(merged), merged.refused) == ({}, ["kept"] * 3, ())
    assert len(bench.store.winners(history=True)) == 4


WRITE = """
import sys
from pathlib import Path
from gdn_ops.tuner.store.db import open_database
from gdn_ops.tuner.store.winners_file import write_winners
with open_database(sys.argv[1], create=False) as database:
    write_winners(database, Path(sys.argv[2]))
"""


def test_the_same_rows_give_the_same_bytes(bench: Bench, tmp_path: Path) -> None:
    """In other processes, and from databases with other row numbers and more rows."""
    first = tmp_path / "first.db"
    write_winners(bench.store.database, first)
    copy = Bench(tmp_path / "copy.db", OTHER)
    copy.record(stage_key(BK=64))
    copy.store.merge(bench.path)
    digests = {hashlib.sha256(first.read_bytes()).hexdigest()}
    for seed, path in (("1", bench.path), ("2", copy.path)):
        out = tmp_path / f"{seed}.db"
        subprocess.run(
            [sys.executable, "-c", WRITE, str(path), str(out)],
            check=True, env={**os.environ, "PYTHONHASHSEED": seed},
        )  # fmt: skip
        digests.add(hashlib.sha256(out.read_bytes()).hexdigest())
    assert len(digests) == 1


def test_a_winner_that_cannot_be_used_is_left_out_by_name(bench: Bench, tmp_path: Path) -> None:
    bench.win(DECODE, target="b200", arch="sm_100")  # its variant has axes that do not exist
    written = write_winners(bench.store.database, tmp_path / "winners.db")
    assert len(written.winners) == 3
    (text,) = written.left_out
    assert text.startswith("left out row 5 of winner_rows: its variant can no longer be rendered")


def test_a_file_is_never_replaced(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "winners.db"
    path.write_text("mine")
    with pytest.raises(ResultsError, match="exists; it was left as it is"):
        write_winners(bench.store.database, path)
    assert path.read_text() == "mine"
    assert not list(tmp_path.glob(".winners*"))
