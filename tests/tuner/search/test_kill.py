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
from contextlib import suppress
from pathlib import Path

import pytest

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
    process, reported = under_way(folder, rng)
    return reported + kill(process)


def killed_with_its_workers(folder: Path, rng: random.Random) -> list[int]:
    process, reported = under_way(folder, rng)
    for pid in descendants(process.pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return reported + kill(process)


def killed_worker(folder: Path, rng: random.Random) -> list[int]:
    """The run itself goes on without that worker, to its end."""
    process, reported = under_way(folder, rng)
    workers = [pid for pid in descendants(process.pid) if b"worker" in command_line(pid)]
    for pid in rng.sample(workers, len(workers)):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            break
    else:
        pytest.fail("there was no worker to kill")
    rest, _ = process.communicate(timeout=120)
    assert process.returncode == 0, rest
    return reported + recorded(rest)


def under_way(folder: Path, rng: random.Random) -> tuple[subprocess.Popen[str], list[int]]:
    """A run a fraction of a second after it has reported one to three trials; and those."""
    process = tune(folder, "--again", "--trials", "3", "--strategy", "tpe")
    reported: list[int] = []
    wanted = rng.randint(1, 3)
    assert process.stdout is not None
    while len(reported) < wanted and (line := process.stdout.readline()):
        reported += recorded(line)
    time.sleep(rng.uniform(0.0, 0.4) * rng.random())
    return process, reported


def descendants(pid: int) -> list[int]:
    """All processes that a process has started, and those that they have started."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in map(int, path.read_text().split()):
                found += [child, *descendants(child)]
    return found


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def kill(process: subprocess.Popen[str]) -> list[int]:
    """SIGKILL the process; the trials it reported that were not read yet."""
    process.send_signal(signal.SIGKILL)
    rest, _ = process.communicate()
    return recorded(rest)


def trials(folder: Path) -> set[int]:
    """The trials of the database, after a check of its integrity."""
    path = folder / "results.db"
    if not path.exists():
        return set()
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
        found = connection.execute("SELECT id FROM trials") if "trials" in tables else ()
        return {row[0] for row in found}
    finally:
        connection.close()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("rounds", [1, pytest.param(34, marks=pytest.mark.exhaustive)])
def test_kills_lose_no_trial_and_the_next_run_goes_on(rounds: int, tmp_path: Path) -> None:
    """A third of the kills falls into imports and the making of the database, the others into
    trials: of a worker, of the run with its workers, or of the run alone.
    """
    rng = random.Random(2412)
    (tmp_path / "tiny.json").write_text(json.dumps(PROBLEMS))
    reported: set[int] = set()
    for number in range(rounds):
        whole = killed_after_trials if number % 2 else killed_with_its_workers
        others = [killed_worker, whole]
        rng.shuffle(others)
        for killed in (killed_while_starting, *others):
            reported |= set(killed(tmp_path, rng))
            assert reported <= trials(tmp_path), "a trial that was reported is not in the database"
    assert len(reported) >= 2 * rounds

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
