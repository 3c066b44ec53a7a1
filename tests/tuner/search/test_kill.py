"""SIGKILL at random moments: no finished trial is lost and no database is left corrupt."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gdn_ops.tuner.strategies.study_file import studies_beside

pytestmark = pytest.mark.long

PROBLEM = {"H": 1, "HV": 2, "K": 16, "V": 16, "dtype": "fp32"}
PROBLEMS = [{**PROBLEM, "tokens": 64}, {**PROBLEM, "tokens": 32, "final_state": True}]


def tune(folder: Path, *options: str) -> subprocess.Popen[str]:
    environment = os.environ | {"GDN_CACHE_DIR": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [
            sys.executable, "-u", "-m", "gdn_ops.tuner.cli", "tune", str(folder / "tiny.json"),
            "--db", str(folder / "results.db"), "--device", "cpu", "--threads", "1",
            "--minutes", "0", *options,
        ],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip


def recorded(line: str) -> list[int]:
    return [int(number) for number in re.findall(r"trial (\d+) recorded", line)]


def killed_while_starting(folder: Path, rng: random.Random) -> list[int]:
    process = tune(folder, "--again", "--trials", "3", "--strategy", "tpe")
    time.sleep(rng.uniform(0.2, 3.0))
    return kill(process)


def killed_after_trials(folder: Path, rng: random.Random) -> list[int]:
    """Kill within a fraction of a second after one to three trials were reported."""
    process = tune(folder, "--again", "--trials", "3", "--strategy", "tpe")
    reported: list[int] = []
    wanted = rng.randint(1, 3)
    assert process.stdout is not None
    while len(reported) < wanted and (line := process.stdout.readline()):
        reported += recorded(line)
    time.sleep(rng.uniform(0.0, 0.4) * rng.random())
    return reported + kill(process)


def kill(process: subprocess.Popen[str]) -> list[int]:
    """SIGKILL the process; the trials it reported that were not read yet."""
    process.send_signal(signal.SIGKILL)
    rest, _ = process.communicate()
    return [number for line in rest.splitlines() for number in recorded(line)]


def trials(folder: Path) -> set[int]:
    """The trials of the database, after a check of its integrity and of the studies'."""
    found: set[int] = set()
    results = folder / "results.db"
    for path in (results, studies_beside(results)):
        if not path.exists():
            continue
        connection = sqlite3.connect(path)
        try:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
            if path == results and "trials" in tables:
                found = {row[0] for row in connection.execute("SELECT id FROM trials")}
        finally:
            connection.close()
    return found


@pytest.mark.parametrize("kills", [3, pytest.param(40, marks=pytest.mark.exhaustive)])
def test_kills_lose_no_trial_and_the_next_run_goes_on(kills: int, tmp_path: Path) -> None:
    """A third of the kills falls into imports and the making of the database, the others into
    trials.
    """
    rng, while_starting = random.Random(2412), kills // 3
    (tmp_path / "tiny.json").write_text(json.dumps(PROBLEMS))
    kinds = [killed_while_starting] * while_starting
    kinds += [killed_after_trials] * (kills - while_starting)
    first, *others = kinds
    rng.shuffle(others)
    reported: set[int] = set()
    for killed in (first, *others):
        reported |= set(killed(tmp_path, rng))
        assert reported <= trials(tmp_path), "a trial that was reported is not in the database"
    assert len(reported) >= kills - while_starting

    before = trials(tmp_path)
    last = tune(tmp_path, "--trials", "1", "--again")
    output, _ = last.communicate(timeout=120)
    assert last.returncode == 0, output
    assert re.search(r"known trials? of earlier runs", output)
    assert before < trials(tmp_path)
    connection = sqlite3.connect(tmp_path / "results.db")
    winners = connection.execute("SELECT problem_id, provenance FROM winners").fetchall()
    statuses = {row[0] for row in connection.execute("SELECT status FROM runs")}
    connection.close()
    assert [provenance for _, provenance in winners] == ["measured"] * len(PROBLEMS)
    assert statuses == {"interrupted", "finished"}, "killed runs count as interrupted"
