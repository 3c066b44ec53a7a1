"""Annotations of GitHub Actions, read as its runner does, and the step's summary."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gdn_ops.tuner.check.outcome import Outcome
from gdn_ops.tuner.check.reports import github, markdown
from gdn_ops.tuner.check.states import State
from tests.tuner.check.reports import outcomes

COMMAND = re.compile(r"::(error|warning|notice) ([^:]*)::(.*)")


def read(outcome: Outcome) -> list[tuple[str, dict[str, str], str]]:
    """Kind, properties and message of each line; fails on a line that is no command."""
    found = []
    for line in github.render(outcome).splitlines():
        match = COMMAND.fullmatch(line)
        assert match is not None, line
        pairs = (pair.partition("=") for pair in match[2].split(","))
        found.append((match[1], {k: plain(v) for k, _, v in pairs}, plain(match[3])))
    return found


def plain(text: str) -> str:
    for escape, character in (("%3A", ":"), ("%2C", ","), ("%0D", "\r"), ("%0A", "\n")):
        text = text.replace(escape, character)
    return text.replace("%25", "%")


def test_each_state_has_its_kind() -> None:
    found = [
        (kind, message.split(";")[0].rstrip(".")) for kind, _, message in read(outcomes.measured())
    ]
    assert found == [
        ("error", "wrong"),
        ("error", "crashed"),
        ("error", "regressed"),
        ("warning", "regressed, exempt: the gradients' rewrite is on its way (until 2027-01-31)"),
        ("warning", "inconclusive"),
        ("warning", "environment changed"),
        ("notice", "improved"),
    ]


def test_a_line_names_the_file_and_what_was_found() -> None:
    lines = github.render(outcomes.measured()).splitlines()
    name = outcomes.problem_name(4096)
    assert lines[2] == (
        "::error file=templates/triton/chunk_h.py.jinja,"
        f"title=regressed%3A {name} on h200::regressed; 1.052 times the base's time "
        "(95 %25 interval 1.044 .. 1.060), 23.5 ms -> 24.7 ms; confirmed by a second run; "
        "2 pairs were dropped: the device was throttled."
    )
    assert lines[1].startswith("::error title=crashed")


@pytest.mark.parametrize("make", outcomes.ALL.values(), ids=outcomes.ALL)
def test_every_line_is_a_command_and_github_shows_them_all(make: Callable[[], Outcome]) -> None:
    kinds = Counter(kind for kind, _, _ in read(make()))
    assert max(kinds.values(), default=0) <= 10


def test_the_largest_effects_are_shown_and_the_rest_summed_up() -> None:
    found = read(outcomes.many())
    assert len(found) == 10
    ratios = [float(re.findall(r"; ([\d.]+) times", message)[0]) for _, _, message in found[:9]]
    assert ratios == sorted(ratios, reverse=True)
    assert ratios[0] == pytest.approx(1.05 + 0.499)
    assert found[9] == ("error", {"title": "gdn check: 41 more rows"}, "41 regressed")
    # exactly as many as fit are shown one by one
    ten = replace(outcomes.many(), rows=outcomes.many(100).rows)
    assert [kind for kind, _, _ in read(ten)] == ["error"] * 10
    assert all("more rows" not in properties["title"] for _, properties, _ in read(ten))


def test_texts_from_outside_stay_in_their_line() -> None:
    kind, properties, message = read(outcomes.hostile())[0]
    assert kind == "error" and properties["file"] == "a,b:c%\n.jinja"
    assert "100 % x,y:z" in properties["title"] and "100 % x,y:z" in message


def test_an_interruption_is_a_warning_within_the_limit() -> None:
    first, *others = read(outcomes.interrupted())
    assert first[:2] == ("warning", {"title": "gdn check: interrupted"})
    assert [message for _, _, message in others] == [
        "inconclusive; 1.020 times the base's time, 23.4 ms -> 23.9 ms; interrupted after 3 pairs.",
        "inconclusive; interrupted after 0 pairs.",
    ]
    rows = tuple(replace(r, state=State.INCONCLUSIVE) for r in outcomes.many(30).rows)
    found = read(replace(outcomes.interrupted(), rows=rows))
    assert len(found) == 10
    assert found[-1][1] == {"title": "gdn check: 22 more rows"}


def test_the_summary_is_appended_within_what_is_left(tmp_path: Path) -> None:
    file = tmp_path / "summary.md"
    github.append_summary(outcomes.measured(), file)
    assert file.read_text() == markdown.render(outcomes.measured())
    file.write_text("x" * (markdown.LIMIT - 5000) + "\n")
    github.append_summary(outcomes.many(), file)
    assert markdown.LIMIT - 400 < file.stat().st_size <= markdown.LIMIT
    assert file.read_text().startswith("xxx")


def test_the_file_of_the_summary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(github.SUMMARY_VARIABLE, raising=False)
    assert github.summary_file() is None
    monkeypatch.setenv(github.SUMMARY_VARIABLE, "")
    assert github.summary_file() is None
    monkeypatch.setenv(github.SUMMARY_VARIABLE, "/tmp/summary.md")
    assert github.summary_file() == Path("/tmp/summary.md")
