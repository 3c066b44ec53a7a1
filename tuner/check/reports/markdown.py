"""Report as Markdown, for a comment on a pull request or a GitHub step summary."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from gdn_ops.tuner.check.outcome import CheckRow, Outcome
from gdn_ops.tuner.check.reports.effect import largest_first
from gdn_ops.tuner.check.reports.row_text import (
    base_text,
    difference_text,
    head_text,
    interval_text,
    one_line,
    pairs_text,
    ratio_text,
    remarks_text,
    state_text,
)
from gdn_ops.tuner.check.reports.summary import (
    compared,
    counts,
    geometric_mean_text,
    reason,
    verdict,
)

TO_FILE = True
LIMIT = 1 << 20
"""Bytes that GitHub takes of a step summary."""
FOLDED = 20
"""With more rows, those that do not fail are folded."""
LONGEST_CELL = 400
"""Characters of a text in a cell; a compiler's message may have thousands."""

_SPECIAL = re.compile(r"([\\`*_\[\]|~$<])")
_START = re.compile(r"^([#>+=-])")
"""What has a meaning in Markdown anywhere, and only at the start of a line."""
_MEASURED = ("problem", "base", "head", "ratio", "95 % interval", "pairs", "state", "remarks")
_STATIC = ("kernel", "target", "state", "differences", "remarks")
_LEFT = ("problem", "kernel", "target", "state", "differences", "remarks")


def render(outcome: Outcome, *, limit: int = LIMIT) -> str:
    """A headline with the verdict, and a table with the failing rows first and in bold.

    Args:
        outcome: what is reported.
        limit: bytes that the text has at most. Whole rows are left out to keep it, and the text
            says how many. The headline is always written.
    """
    worse = largest_first(outcome.failing)
    rest = [row for row in outcome.rows if not row.failing]
    folded = len(rest) if len(outcome.rows) > FOLDED else 0
    blocks = [_headline(outcome)]
    if worse or (rest and not folded):
        shown = worse if folded else [*worse, *rest]
        blocks.append(_table(outcome, shown))
    if folded:
        title = f"{folded} more rows: {counts(rest)}" if worse else f"{folded} rows: {counts(rest)}"
        blocks.append(_table(outcome, rest, title=title))
    return _fit(blocks, limit)


@dataclass(frozen=True)
class _Block:
    """Lines that belong together; rows are what may be left out."""

    before: Sequence[str]
    rows: Sequence[str] = ()
    after: Sequence[str] = ()


def _headline(outcome: Outcome) -> _Block:
    lines = [f"## gdn check: {verdict(outcome)}", ""]
    why = _cell(reason(outcome))
    lines += [f"{why[:1].upper()}{why[1:]}.", "", f"Compared: {_cell(compared(outcome))}.", ""]
    if outcome.rows:
        numbers = (counts(outcome.rows), geometric_mean_text(outcome))
        lines += ["; ".join(_cell(text) for text in numbers if text) + ".", ""]
    facts = ", ".join(f"{name} {value}" for name, value in outcome.environment.items())
    if facts:
        lines += [_cell(f"Environment: {facts}"), ""]
    lines += [line for note in outcome.notes for line in (_cell(note), "")]
    return _Block(lines)


def _table(outcome: Outcome, rows: Sequence[CheckRow], *, title: str = "") -> _Block:
    columns = _STATIC if outcome.kind == "static" else _MEASURED
    cells = _static_cells if outcome.kind == "static" else _measured_cells
    before = [f"<details><summary>{title}</summary>", ""] if title else []
    before += [_line(columns), _line([":--" if c in _LEFT else "--:" for c in columns])]
    lines = [_line([f"**{c}**" if row.failing and c else c for c in cells(row)]) for row in rows]
    return _Block(before, lines, ["", "</details>", ""] if title else [""])


def _measured_cells(row: CheckRow) -> list[str]:
    times = row.times
    numbers = ("", "", "", "", "")
    if times is not None:
        numbers = (
            base_text(times),
            head_text(times),
            ratio_text(times),
            interval_text(times),
            pairs_text(times),
        )
    return [_code(row.name), *numbers, _cell(state_text(row)), _cell(remarks_text(row))]


def _static_cells(row: CheckRow) -> list[str]:
    differences = "<br>".join(_cell(difference_text(d)) for d in row.differences)
    name, target = _code(row.name), _code(row.target)
    return [name, target, _cell(state_text(row)), differences, _cell(remarks_text(row))]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _code(text: str) -> str:
    """A name as code; a vertical bar needs its backslash even there."""
    return f"`{_cut(text).replace('`', chr(0x27)).replace('|', chr(0x5C) + '|')}`"


def _cell(text: str) -> str:
    """A text that Markdown shows as it is, in one line, without mentioning anyone."""
    plain = _SPECIAL.sub(r"\\\1", _cut(text).replace("&", "&amp;"))
    return _START.sub(r"\\\1", plain.replace("\\<", "&lt;").replace("@", "@<!-- -->"))


def _cut(text: str) -> str:
    plain = one_line(text)
    return plain if len(plain) <= LONGEST_CELL else f"{plain[: LONGEST_CELL - 1]}…"


def _fit(blocks: Sequence[_Block], limit: int) -> str:
    """The blocks as text, with as many of their first rows as fit."""
    total = sum(len(block.rows) for block in blocks)
    whole = _text(blocks, total, total)
    if _bytes(whole) <= limit:
        return whole
    fitting = bisect_right(range(total), limit, key=lambda kept: _bytes(_text(blocks, kept, total)))
    return _text(blocks, fitting - 1, total) if fitting else f"{blocks[0].before[0]}\n"


def _text(blocks: Sequence[_Block], kept: int, total: int) -> str:
    lines: list[str] = []
    room = kept
    for block in blocks:
        rows = block.rows[:room]
        room -= len(rows)
        if rows or not block.rows:
            lines += [*block.before, *rows, *block.after]
    if kept < total:
        lines += [f"{total - kept} more of {total} rows are left out; the JSON report has all."]
    return "\n".join(lines).rstrip("\n") + "\n"


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "replace"))
