"""Writing reports: whole files, the others when one fails, and what GitHub gets."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from gdn_ops.tuner.check.reports import FORMATS, delivery, github, markdown
from gdn_ops.tuner.check.reports.delivery import write
from gdn_ops.tuner.check.reports.request import Request, requests_of
from tests.tuner.check.reports import outcomes


@pytest.fixture(autouse=True)
def no_summary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(github.SUMMARY_VARIABLE, raising=False)


def test_every_format_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = outcomes.hostile()
    to_file = {name: f for name, f in FORMATS.items() if f.TO_FILE}
    texts = [f"{name}={tmp_path / name}" for name in to_file]
    assert write(outcome, requests_of([*texts, "github"])) == ()
    for name, format in to_file.items():
        expected = format.render(outcome).encode("utf-8", "backslashreplace")
        assert (tmp_path / name).read_bytes() == expected
    assert sorted(os.listdir(tmp_path)) == sorted(to_file)
    assert capsys.readouterr().out == github.render(outcome)


def test_the_others_are_written_when_one_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    bad = [
        Request("junit", tmp_path / "missing" / "a.xml"),
        Request("json", tmp_path / "file" / "b"),
    ]
    good = Request("markdown", tmp_path / "c.md")
    failures = write(outcomes.measured(), [*bad, good])
    assert good.file is not None and good.file.read_text() == markdown.render(outcomes.measured())
    assert failures == (
        f"cannot write the junit report to {bad[0].file}: No such file or directory; "
        "give --report junit=FILE in a folder that exists and is writable.",
        f"cannot write the json report to {bad[1].file}: Not a directory; "
        "give --report json=FILE in a folder that exists and is writable.",
    )


def test_an_old_report_stays_whole_until_the_new_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "check.json"
    file.write_text("old")

    def full(source: Path, target: Path) -> None:
        assert file.read_text() == "old" and Path(source).stat().st_size > 1000
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(delivery.os, "replace", full)
    (failure,) = write(outcomes.measured(), [Request("json", file)])
    assert "No space left on device" in failure
    assert file.read_text() == "old" and os.listdir(tmp_path) == ["check.json"]


def test_a_link_is_kept_and_others_may_read_the_file(tmp_path: Path) -> None:
    target = tmp_path / "target.json"
    link = tmp_path / "link.json"
    link.symlink_to(target)
    mask = os.umask(0o022)
    try:
        assert write(outcomes.measured(), [Request("json", link)]) == ()
    finally:
        os.umask(mask)
    assert link.is_symlink() and target.stat().st_size > 1000
    assert stat.S_IMODE(target.stat().st_mode) == 0o644


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    text = FORMATS["junit"].render(outcomes.measured())
    assert len(text.encode()) < 1 << 16  # a pipe holds it, so it can be read afterwards
    end = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert write(outcomes.measured(), [Request("junit", pipe)]) == ()
        assert os.read(end, 1 << 16).decode() == text
    finally:
        os.close(end)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_the_step_summary_is_appended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "summary.md"
    file.write_text("before\n")
    monkeypatch.setenv(github.SUMMARY_VARIABLE, str(file))
    assert write(outcomes.measured(), [Request("github")]) == ()
    assert file.read_text() == "before\n" + markdown.render(outcomes.measured())

    monkeypatch.setenv(github.SUMMARY_VARIABLE, str(tmp_path / "missing" / "summary.md"))
    (failure,) = write(outcomes.measured(), [Request("github")])
    assert "GITHUB_STEP_SUMMARY names: No such file or directory" in failure
    assert capsys.readouterr().out == 2 * github.render(outcomes.measured())


def test_nothing_is_printed_where_nothing_is_to_be_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert write(outcomes.empty(), [Request("github")]) == ()
    assert capsys.readouterr().out == ""
