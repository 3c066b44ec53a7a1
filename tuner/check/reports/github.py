"""Report for GitHub Actions: annotations on standard output, and the step's summary."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from gdn_ops.tuner.check.outcome import CheckRow, Outcome
from gdn_ops.tuner.check.reports import markdown
from gdn_ops.tuner.check.reports.effect import largest_first
from gdn_ops.tuner.check.reports.row_text import one_line, sentence
from gdn_ops.tuner.check.reports.summary import counts, reason
from gdn_ops.tuner.check.states import State
from gdn_ops.tuner.report.printable import printable

TO_FILE = False
SUMMARY_VARIABLE = "GITHUB_STEP_SUMMARY"
SHOWN = 10
"""Annotations of one kind that GitHub shows per step."""

_WARNED = (State.INCONCLUSIVE, State.ENVIRONMENT)


def render(outcome: Outcome) -> str:
    """A line per annotation: errors, warnings and notices, the largest effects first.

    Where GitHub would not show all of a kind, the last one sums up the rest.
    """
    warned = [r for r in outcome.rows if r.state in _WARNED or (r.state.failing and not r.failing)]
    improved = [r for r in outcome.rows if r.state is State.IMPROVED]
    lines = _annotations("error", outcome.failing)
    if outcome.interrupted:
        lines.append(_command("warning", reason(outcome), title="gdn check: interrupted"))
    lines += _annotations("warning", warned, shown=SHOWN - int(outcome.interrupted))
    lines += _annotations("notice", improved)
    return "".join(f"{line}\n" for line in lines)


def summary_file() -> Path | None:
    """The file of the step's summary; None outside GitHub Actions."""
    name = os.environ.get(SUMMARY_VARIABLE)
    return Path(name) if name else None


def append_summary(outcome: Outcome, file: Path) -> None:
    """Append the Markdown report to the step's summary, within what GitHub takes of it.

    Raises:
        OSError: the file cannot be read or written.
    """
    written = file.stat().st_size if file.exists() else 0
    text = markdown.render(outcome, limit=markdown.LIMIT - written)
    with file.open("a", encoding="utf-8", errors="backslashreplace", newline="\n") as summary:
        summary.write(text)


def _annotations(kind: str, rows: Sequence[CheckRow], *, shown: int = SHOWN) -> list[str]:
    ordered = largest_first(rows)
    if len(ordered) > shown:
        ordered, rest = ordered[: shown - 1], ordered[shown - 1 :]
    else:
        rest = []
    lines = [_command(kind, sentence(r), title=_title(r), file=r.file) for r in ordered]
    if rest:
        lines.append(_command(kind, counts(rest), title=f"gdn check: {len(rest)} more rows"))
    return lines


def _command(kind: str, message: str, *, title: str, file: str | None = None) -> str:
    """A workflow command, e.g. ``::error file=a.jinja,title=regressed::The message``."""
    given = {"file": file, "title": title}
    properties = ",".join(f"{k}={_escaped(v, _PROPERTY)}" for k, v in given.items() if v)
    return f"::{kind} {properties}::{_escaped(message, _MESSAGE)}"


def _title(row: CheckRow) -> str:
    return one_line(f"{row.state.value}: {row.name} on {row.target}")


def _escaped(text: str, escapes: dict[int, str]) -> str:
    return printable(text).translate(escapes)


_MESSAGE = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A"})
_PROPERTY = _MESSAGE | str.maketrans({":": "%3A", ",": "%2C"})
