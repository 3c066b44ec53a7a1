"""``gdn check`` as a user types it: what it refuses, prints, writes and exits with."""

from __future__ import annotations

import json
import os
from datetime import date, timedelta
from pathlib import Path
from xml.etree import ElementTree

import pytest

from gdn_ops.tuner.check import processes
from gdn_ops.tuner.cli import run
from tests.tuner.check.packages import repository
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
    assert check(sides) == 0
    out = capsys.readouterr().out
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
        (["no-such-workload"], "unknown workload 'no-such-workload'"),
        (["--base", "no-such-revision"], "no-such-revision"),
    ],
)
def test_what_is_refused_in_one_line(sides, arguments, says, capsys):
    sides.write(SAME, SAME)
    named = [] if "--static" in arguments or "--base" in arguments else ["--base", str(sides.base)]
    head = [] if "--static" in arguments else ["--head", str(sides.head)]
    assert run(["check", *arguments, *named, *head]) == 2
    captured = capsys.readouterr()
    assert says.lower() in captured.err.lower() and len(captured.err.splitlines()) == 1
    assert not [job for job in sides.jobs if "measure" in job]
    assert os.listdir(".") == []
