"""``gdn tune``: one run on real children, an interruption, bad input, and what is shown."""

from __future__ import annotations

import io
import json
import os
import re
import select
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

import pytest
from rich.console import Console

from gdn_ops.codegen.problem import Problem
from gdn_ops.seconds import seconds_text
from gdn_ops.tuner.cli import run
from gdn_ops.tuner.deadline import NO_DEADLINE, Deadline
from gdn_ops.tuner.report import console
from gdn_ops.tuner.report.live_view import LiveView
from gdn_ops.tuner.report.progress import (
    FinalsStarted,
    LinesView,
    Note,
    ProblemStarted,
    SearchStarted,
    Tally,
    TrialEnded,
)
from gdn_ops.tuner.report.time_left import TimeLeft
from gdn_ops.tuner.spaces.workloads import problem_of
from gdn_ops.tuner.store.db import open_database
from gdn_ops.tuner.store.records import Outcome, Trial, TrialKey
from gdn_ops.tuner.store.store import Store
from tests.json_documents import documented
from tests.tuner.search.recorded import toy_plans

pytestmark = pytest.mark.long

FACTS = {"H": 1, "HV": 2, "K": 16, "V": 16, "dtype": "fp32", "tokens": 32, "final_state": True}
OPTIONS = ["--H", "1", "--HV", "2", "--K", "16", "--dtype", "fp32", "--tokens", "32"]


def command(folder: Path, *options: str) -> subprocess.Popen[str]:
    environment = os.environ | {"GDN_CACHE_DIR": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [
            sys.executable, "-u", "-m", "gdn_ops.tuner.cli", "tune", *options,
            "--db", str(folder / "results.db"), "--device", "cpu", "--threads", "1",
        ],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def tuned(folder: Path, *options: str) -> tuple[int, str, str]:
    process = command(folder, *options)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


@pytest.mark.exhaustive
def test_a_library_is_checked_timed_reported_and_may_win(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    code, out, err = tuned(tmp_path, *OPTIONS, "--trials", "1", "--providers", "transformers")
    assert code == 0, err
    assert "Providers" in out and "of the winner's speed" in out
    allowed = ["--providers", "transformers", "--allow-providers", "--json"]
    code, out, err = tuned(tmp_path, *OPTIONS, "--trials", "1", "--again", *allowed)
    assert code == 0, err
    document = documented(out)
    (row,), (winner,) = document["providers"], document["winners"]
    assert row["status"] == "ok" and row["won"] is (winner["variant"]["plan"] == "transformers")
    assert row["median_seconds"] > 0


def test_providers_that_are_unknown_or_missing_end_the_command_with_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "flash_qla", None)
    for options, why in (
        (["--providers", "flashqla"], "FlashQLA, which is not installed; `pip install flash-qla`"),
        (["--providers", "fl"], "unknown provider 'fl'"),
        (["--allow-providers"], "--providers names none"),
    ):
        assert run(["tune", *OPTIONS, *options, "--db", str(tmp_path / "r.db")]) == 2
        assert why in capsys.readouterr().err
    assert not (tmp_path / "r.db").exists()


def test_a_problem_is_tuned_shown_and_not_tuned_twice(tmp_path: Path) -> None:
    code, out, err = tuned(tmp_path, *OPTIONS, "--trials", "2")
    assert code == 0, err
    assert "torch" in out and "speed-up" in out and f"Stored in {tmp_path}" in out
    assert "gdn show" in out
    problem: Problem = problem_of(FACTS).bucket()
    with open_database(tmp_path / "results.db", create=False, writable=False) as database:
        store = Store(database)
        (winner,) = store.winners()
        (finished,) = store.runs()
        assert winner.problem_id == problem.id()
        assert winner.provenance == "measured"
        assert winner.target.startswith("cpu")
        assert finished.status == "finished"
        assert len(re.findall(r"trial \d+ recorded", out)) == len(store.trials())
    # on a busy machine the winner may be doubtful, and a doubtful one is measured again
    with closing(sqlite3.connect(tmp_path / "results.db")) as connection, connection:
        connection.execute("UPDATE winner_rows SET low = median, high = median")
        connection.execute("UPDATE trials SET resources = json_remove(resources, '$.conditions')")
    code, out, err = tuned(tmp_path, *OPTIONS, "--json")
    assert code == 0
    assert "tuned already" in err and "recorded" not in err
    (found,) = documented(out)["winners"]
    assert found["median_seconds"] == winner.median and found["trial_id"] == winner.trial_id


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.exhaustive)]
)
def test_an_interruption_keeps_a_usable_winner_and_exits_130(
    number: signal.Signals, tmp_path: Path
) -> None:
    path = tmp_path / "two.json"
    path.write_text(json.dumps([FACTS, {**FACTS, "tokens": 64}]))
    process = command(tmp_path, str(path))
    assert process.stdout is not None
    read = ""
    while "recorded" not in read and (line := process.stdout.readline()):
        read += line
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "the same command continues from here" in out
    with open_database(tmp_path / "results.db", create=False, writable=False) as database:
        store = Store(database)
        assert [r.status for r in store.runs()] == ["interrupted"]
        assert [w.provenance for w in store.winners()] == ["measured"]
        assert len(store.trials()) >= 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["quickstrt"], "unknown workload 'quickstrt'; did you mean 'quickstart'"),
        (["tiny", "--device", "cuda:9"], "device 'cuda:9' is not in this machine"),
        (["tiny", "--plans", "splt"], "unknown plan 'splt'; did you mean 'split'"),
        (["tiny", "--plans", "split", "--device", "cpu"], "is not a GPU. Leave out --plans, or"),
        (["tiny", "--strategy", "tpa"], "unknown strategy 'tpa'; did you mean 'tpe'"),
        (["tiny", "--threads", "4096"], "--threads 4096 must be >= 1 and <="),
        (["tiny", "--trials", "-1"], "--trials is -1"),
        (["tiny", "--minutes", "-1"], "--minutes is -1"),
        (["tiny", "--minutes", "nan"], "--minutes is nan; it must be >= 0 and <="),
        (["tiny", "--minutes", "inf"], "--minutes is inf; it must be >= 0 and <="),
        (["tiny", "--trials", "9" * 400], "--trials is 9999"),
        (["tiny", "--seed", str(2**64)], f"--seed {2**64} must be >= 0 and <= 4294967295"),
        (["tiny", "--seed", "-1"], "--seed -1 must be >= 0"),
        (["--tokens", "9" * 20], "must be <= 1073741824"),
        (["tiny", "--H", "1"], "leave out one of them"),
        (["--H", "3", "--HV", "4"], "HV=4"),
        (["--nonsense"], "No such option: --nonsense"),
        (["tiny", "--seed", "x"], "--seed"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    arguments: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["tune", *arguments, "--db", str(tmp_path / "r.db")]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1, error
    assert not (tmp_path / "r.db").exists(), "nothing is stored for bad input"


@pytest.mark.parametrize("content", [b"no database at all, only text" * 40, b""])
def test_a_database_that_cannot_be_used_is_one_line_and_exit_2(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "r.db"
    path.write_bytes(content) if content else path.mkdir()
    assert run(["tune", "tiny", "--db", str(path), "--device", "cpu"]) == 2
    error = capsys.readouterr().err
    assert str(path) in error and error.count("\n") == 1, error


def trial(number: int, seconds: float | None, status: str = "ok") -> Trial:
    key = TrialKey(target="cpu", arch="cpu", problem_id="p", scope="plan", plan="single")
    return Trial(
        id=number, run_id=1, environment_id=1, key=key, variant_id="v",
        outcome=Outcome(status=status, median=seconds, message="why\nmore"),
        created=datetime.now(timezone.utc),
    )  # fmt: skip


EVENTS = (
    ProblemStarted(problem_id="p", number=1, total=2, deadline=NO_DEADLINE),
    SearchStarted(space="single", configs=30, trials=10, strategy="tpe"),
    TrialEnded(space="single", trial=trial(1, 2e-3), fresh=False, text="single"),
    TrialEnded(space="single", trial=trial(2, 1e-3), fresh=True, text="single tile=64"),
    TrialEnded(space="single", trial=trial(2, 1e-3), fresh=False, text="single tile=64"),
    TrialEnded(space="single", trial=trial(3, None, "timeout"), fresh=True, text="single warps=8"),
    Note(text="something"),
)


def test_the_tally_counts_each_trial_once() -> None:
    tally = Tally()
    for event in EVENTS:
        tally.add(event)
    single = tally.spaces["single"]
    assert (single.tried, single.ok, single.failed) == (3, 2, 1)
    assert (single.best, single.best_text) == (1e-3, "single tile=64")


def test_lines_say_what_was_recorded_and_why_it_failed() -> None:
    stream = io.StringIO()
    with LinesView(stream) as view:
        for event in EVENTS:
            view(event)
    text = stream.getvalue()
    assert "trial 2 recorded: single tile=64: 1.00 ms; best 1.00 ms" in text
    assert "trial 3 recorded: single warps=8: timeout why; best 1.00 ms" in text
    assert "trial 1 recorded" not in text
    assert re.findall("known.*", text) == ["known trial of earlier runs"], "only one is of those"


def test_the_live_view_shows_tried_right_failed_and_best() -> None:
    stream = io.StringIO()
    with toy_plans("single"):
        view = LiveView(Console(file=stream, force_terminal=True, width=120, color_system=None))
        with view:
            for event in EVENTS:
                view(event)
            view._live.refresh()
            view(FinalsStarted(variants=("a", "b")))
            view._live.refresh()
    text = stream.getvalue()
    assert "problem 1 of 2: p" in text
    assert re.search(r"all problems +0 of 2 done", text), text
    assert re.search(r"this search +━+╸? +3 of 11 trials", text), "10 new ones, and a known one"
    assert re.search(r"single +3 +30 +2 +1 +1\.00 ms +single tile=64", text), text
    assert "finals: 2 variants" in text
    assert "something" in text


def test_bars_say_how_much_time_is_left() -> None:
    now = 100.0
    left = TimeLeft(lambda: now)
    whole = Deadline(now + 60)
    left.start(number=1, total=2, deadline=Deadline(now + 30), whole=whole)
    now = 115.0
    assert (left.run().done, getattr(left.problem(), "done", None)) == (0.25, 0.5)
    left.start(number=2, total=2, deadline=whole, whole=whole)
    now = 200.0
    assert left.run() == left.run().__class__("all problems", 1.0, "finishing")
    unlimited = TimeLeft(lambda: now)
    unlimited.start(number=2, total=4, deadline=NO_DEADLINE, whole=NO_DEADLINE)
    now = 230.0
    unlimited.start(number=3, total=4, deadline=NO_DEADLINE, whole=NO_DEADLINE)
    assert unlimited.problem() is None
    assert unlimited.run().text == "2 of 4 done, about 1:00 left"


@pytest.mark.parametrize(("term", "live"), [("xterm", True), ("dumb", False), (None, False)])
def test_only_a_terminal_that_can_be_redrawn_gets_bars(
    term: str | None, live: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # a log of CI that takes colours is still a log
    monkeypatch.setenv("TERM", term or "xterm")
    ends = os.openpty() if term else os.pipe()
    with os.fdopen(ends[1], "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        view = console.progress_view()
        assert isinstance(view, LiveView) is live
        with view:
            view(Note(text="something"))
        stream.flush()
        written = b""  # a terminal hands over a few kilobytes at a time
        while select.select([ends[0]], [], [], 0)[0]:
            written += os.read(ends[0], 10_000)
    os.close(ends[0])
    assert b"something" in written and (b"\x1b" in written) is live


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1.234, "1.23 s"), (0.0123, "12.3 ms"), (123e-6, "123 us"), (4.56e-7, "0.46 us"), (None, "-")],
)
def test_times_have_three_digits(seconds: float | None, text: str) -> None:
    assert seconds_text(seconds) == text


def test_a_cache_that_cannot_be_written_stops_before_anything_fails_by_it(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    code, _, err = tuned(tmp_path, *OPTIONS)
    assert code == 1
    assert "GDN_CACHE_DIR" in err and err.count("\n") == 1, err
    assert not (tmp_path / "results.db").exists()
