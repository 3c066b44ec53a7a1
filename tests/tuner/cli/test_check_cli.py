"""``gdn check`` as a user types it: what it refuses, prints, writes and exits with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import date, timedelta
from pathlib import Path
from typing import IO
from xml.etree import ElementTree

import pytest

from gdn_ops.tuner.check import processes
from gdn_ops.tuner.check.reports import table
from gdn_ops.tuner.cli import run
from tests.json_documents import documented
from tests.tuner.check.packages import repository, wheel
from tests.tuner.check.test_measured import FAKE, SAME, Sides, timed


@pytest.fixture
def sides(tmp_path, monkeypatch) -> Sides:
    """Two sides, beside the current folder, which has no settings."""
    monkeypatch.setattr(processes, "PROBE", FAKE)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return Sides(tmp_path)


def check(sides: Sides, *arguments: str) -> int:
    sides_named = ("--base", str(sides.base), "--head", str(sides.head))
    return run(["check", "--device", "cpu", *sides_named, *arguments])


def test_nothing_changed(sides, capsys):
    sides.write(SAME, SAME)
    assert check(sides, "--json") == 0
    answer, out = capsys.readouterr()
    assert documented(answer)["outcome"]["rows"][0]["state"] == "unchanged"
    assert "unchanged" in out and "passed: none of 1 row is worse (exit code 0)" in out


def test_a_regression_is_reported_in_every_format(sides, capsys):
    sides.write(timed(1.0e-3), timed(1.1e-3))
    formats = ("junit", "json", "markdown", "benchmark-action", "bencher", "pytorch")
    reports = [f"--report={name}={name}.out" for name in formats]
    assert check(sides, *reports, "--report", "github") == 1
    out = capsys.readouterr().out
    assert "1.100" in out and "::error title=regressed" in out
    assert ElementTree.parse("junit.out").find(".//failure") is not None
    assert json.loads(Path("json.out").read_text())["rows"][0]["state"] == "regressed"
    assert "**regressed**" in Path("markdown.out").read_text()


def test_a_report_that_cannot_be_written_costs_only_itself(sides, capsys):
    sides.write(SAME, SAME)
    assert check(sides, "--report", "json=no/such/folder.json", "--report", "junit=ok.xml") == 2
    assert Path("ok.xml").exists()
    assert "cannot write the json report to no/such/folder.json" in capsys.readouterr().err


def test_a_regression_outranks_a_report_that_cannot_be_written(sides):
    sides.write(timed(1.0e-3), timed(1.1e-3))
    assert check(sides, "--report", "json=no/such/folder.json") == 1


def settings(sides: Sides, expires: date) -> str:
    text = (
        '[[exempt]]\nmatch = "p"\nreason = "to be tuned again"\n'
        f"expires = {expires.isoformat()}\n\n"
        '[[exempt]]\nmatch = "no-such-row"\nreason = "gone"\nexpires = 2099-01-01\n'
    )
    path = sides.folder / "settings.toml"
    path.write_text(text)
    return str(path)


def test_an_exempt_row_fails_nothing(sides, capsys):
    sides.write(timed(1.0e-3), timed(1.1e-3))
    tomorrow = date.today() + timedelta(days=1)
    assert check(sides, "--config", settings(sides, tomorrow)) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "to be tuned again" in out
    assert "no-such-row" in out  # an entry that matches nothing is named


def test_an_exemption_that_expired_holds_no_longer(sides, capsys):
    sides.write(timed(1.0e-3), timed(1.1e-3))
    assert check(sides, "--config", settings(sides, date.today())) == 1
    assert "expired on" in " ".join(capsys.readouterr().out.split())


def test_wrong_results_cannot_be_exempt(sides):
    sides.write(timed(1.0e-3), timed(1.0e-3, verdict="wrong"))
    tomorrow = date.today() + timedelta(days=1)
    assert check(sides, "--config", settings(sides, tomorrow)) == 1


def test_the_settings_of_the_repository_are_found_from_its_folders(sides, monkeypatch):
    root = repository(sides.folder / "repo")
    (root / "gdn-check.toml").write_text('threshold = "20%"\n')
    (root / "below").mkdir()
    monkeypatch.chdir(root / "below")
    sides.write(timed(1.0e-3), timed(1.1e-3))
    assert check(sides) == 0
    assert check(sides, "--threshold", "3%") == 1


def test_strict_fails_where_nothing_could_be_compared(sides):
    sides.write(SAME, SAME)
    sides_named = ("--base", str(sides.base), "--head", str(sides.head), "--device", "cuda:0")
    assert run(["check", *sides_named]) == 0
    assert run(["check", *sides_named, "--strict"]) == 3


def test_an_interruption_is_reported(sides, capsys):
    sides.write(timed(1e-3), timed(1e-3, fault="interrupt"))
    assert check(sides, "--report", "json=some.json") == 130
    assert json.loads(Path("some.json").read_text())["interrupted"] is True
    assert "interrupted after 3 pairs" in " ".join(capsys.readouterr().out.split())


def test_samples_are_saved_and_compared_with(sides, capsys):
    sides.write(SAME, SAME)
    assert check(sides, "--save", "saved.json") == 0
    assert "saved.json has 1 run" in capsys.readouterr().out
    assert run(["check", "--base", "saved.json", "--head", str(sides.head), "--device", "cpu"]) == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--report", "jnuit=x.xml"], "unknown report format 'jnuit'; did you mean 'junit'?"),
        (["--report", "junit"], "names no file"),
        (["--threshold", "0.03"], "--threshold is '0.03', which is no percentage"),
        (["--threshold", "0%"], "threshold"),
        (["--threshold", "1%", "--floor", "2%"], "floor"),
        (["--seconds", "0"], "--seconds is 0"),
        (["--save", "no/folder/x.json"], "--save no/folder/x.json is in no folder that exists"),
        (["--config", "no-such.toml"], "no-such.toml"),
        (["--target", "sm_90"], "--target is only read with --static"),
        (["--update"], "--update is only read with --static"),
        (["--static", "--head", "HEAD"], "--head is only read without --static"),
        (["--static", "tiny"], "WORKLOAD is only read without --static"),
        (["--static", "--target", "sm_91"], "sm_91"),
        (["--static", "--triton", "."], "triton"),
        (["--static", "--base", "../saved.json"], "a results file, which has no code"),
        (["--device", "meta"], "--device is 'meta'; give auto, cpu or cuda:N"),
        (["--threads", "0"], "--threads 0 must be >= 1"),
        (["no-such-workload"], "unknown workload 'no-such-workload'"),
        (["--base", "no-such-revision"], "no-such-revision"),
    ],
)
def test_what_is_refused_in_one_line(sides, arguments, says, capsys):
    sides.write(SAME, SAME)
    Path("../saved.json").write_text("{}")
    named = [] if "--static" in arguments or "--base" in arguments else ["--base", str(sides.base)]
    head = [] if "--static" in arguments else ["--head", str(sides.head)]
    assert run(["check", *arguments, *named, *head]) == 2
    captured = capsys.readouterr()
    assert says.lower() in captured.err.lower() and len(captured.err.splitlines()) == 1
    assert not [job for job in sides.jobs if "measure" in job]
    assert os.listdir(".") == []


def test_a_report_does_not_replace_what_the_check_reads_or_saves(sides, capsys):
    sides.write(SAME, SAME)
    assert check(sides, "--save", "saved.json") == 0
    saved = Path("saved.json").read_text()
    assert check(sides, "--save", "saved.json", "--report", "json=./saved.json") == 2
    head = ("--head", str(sides.head), "--device", "cpu")
    assert run(["check", "--base", "saved.json", *head, "--report", "junit=saved.json"]) == 2
    assert Path("saved.json").read_text() == saved
    assert capsys.readouterr().err.count("give the report its own file") == 2


@pytest.mark.parametrize("text", ["precious", '{"a": 1}'])
def test_a_file_that_is_no_baseline_is_not_saved_to(sides, text, capsys):
    sides.write(SAME, SAME)
    Path("other.json").write_text(text)
    os.mkfifo("pipe")
    Path("folder").mkdir()
    for name, says in (
        ("other.json", "exists, and nothing can be added to it"),
        ("pipe", "is a device or a pipe"),
        ("folder", "is a folder"),
    ):
        assert check(sides, "--save", name) == 2
        assert says in capsys.readouterr().err
    assert Path("other.json").read_text() == text
    assert sides.jobs == []


def test_a_pipe_that_nothing_reads_costs_only_its_report(sides, capsys):
    sides.write(SAME, SAME)
    os.mkfifo("pipe")
    assert check(sides, "--report", "json=pipe", "--report", "junit=ok.xml") == 2
    assert Path("ok.xml").exists() and "nothing reads this pipe" in capsys.readouterr().err


def test_a_report_on_standard_output_does_not_empty_its_file(sides, capfd):
    sides.write(SAME, SAME)
    assert check(sides, "--report", "markdown=/dev/stdout", "--report", "json=/dev/fd/999999") == 2
    out, err = capfd.readouterr()
    assert out.index("none of 1 row is worse (exit code 0)") < out.index("## gdn check: passed")
    assert "cannot write the json report to /dev/fd/999999: Bad file descriptor" in err


@pytest.mark.parametrize("full", [False, True])
def test_reports_are_written_where_the_table_cannot_be_printed(sides, full):
    """Standard output is a pipe whose reader has left, or a full disk."""
    sides.write(SAME, SAME)
    code = (
        "from pathlib import Path; from gdn_ops.tuner.check import processes; "
        f"processes.PROBE = Path({str(FAKE)!r}); from gdn_ops.tuner.cli import main; main()"
    )
    arguments = ["check", "--device", "cpu", "--base", str(sides.base), "--head", str(sides.head)]
    with open("/dev/full", "w") if full else _pipe_without_reader() as stdout:
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments, "--report", "json=some.json"],
            stdout=stdout, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    assert json.loads(Path("some.json").read_text())["exit_code"] == 0
    assert done.returncode == (2 if full else 0)
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
    assert ("cannot print the table" in done.stderr) is full


def _pipe_without_reader() -> IO[str]:
    reading, writing = os.pipe()
    os.close(reading)
    return os.fdopen(writing, "w")


def test_an_interruption_while_reports_are_written_costs_no_report(sides, monkeypatch):
    sides.write(SAME, SAME)
    show = table.show

    def interrupted(outcome):
        show(outcome)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(table, "show", interrupted)
    assert check(sides, "--report", "json=some.json") == 130
    assert json.loads(Path("some.json").read_text())["rows"]


def test_a_missing_baseline_is_no_finding(tmp_path, monkeypatch, capsys):
    """Exit code 1 is for a head that is worse."""
    monkeypatch.chdir(tmp_path)
    assert run(["check", "--static", "--target", "sm_90"]) == 2
    assert "there is no baseline baselines/static/sm_90.json" in capsys.readouterr().err


def test_baselines_are_found_from_the_folders_of_the_repository(tmp_path, monkeypatch, capsys):
    root = repository(tmp_path / "repo")
    (root / "below").mkdir()
    monkeypatch.chdir(root / "below")
    assert run(["check", "--static", "--target", "sm_90"]) == 2
    assert "there is no baseline ../baselines/static/sm_90.json" in capsys.readouterr().err


def test_a_folder_that_is_gone_is_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert run(["check", "--device", "cpu"]) == 2
    assert "the check cannot go on: " in capsys.readouterr().err
    monkeypatch.chdir(tmp_path)


def test_a_database_that_no_side_has_is_refused(sides, capsys):
    sides.write(SAME, SAME)
    assert check(sides, "--db", "typo.db") == 2
    assert "--db typo.db is a file of neither base" in capsys.readouterr().err
    (sides.head / "tuned.db").touch()
    assert check(sides, "--db", "tuned.db") == 0
    assert "The base has no tuned.db" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_static_check_that_is_ended_leaves_nothing(tmp_path, monkeypatch, number, capsys):
    seen = []

    def compiling(archs, *, base, **_):
        seen.append((base, base.exists()))
        os.kill(os.getpid(), number)
        time.sleep(10)

    monkeypatch.setattr("gdn_ops.tuner.check.static.check.check_static", compiling)
    monkeypatch.chdir(tmp_path)
    assert run(["check", "--static", "--base", str(wheel(tmp_path / "gdn_ops.whl"))]) == 130
    ((folder, existed),) = seen
    assert existed and not folder.exists()
    assert "interrupted before anything was compared" in capsys.readouterr().err
