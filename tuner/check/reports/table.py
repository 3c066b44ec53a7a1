"""The table of a check in the terminal; it is always printed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap

from gdn_ops.tuner.check.outcome import CheckRow, Outcome, Times
from gdn_ops.tuner.check.reports import spark
from gdn_ops.tuner.check.reports.row_text import (
    base_text,
    difference_text,
    head_text,
    interval_text,
    one_line,
    pairs_text,
    ratio_text,
    remarks_text,
    sentence,
    state_text,
)
from gdn_ops.tuner.check.reports.summary import (
    compared,
    counts,
    geometric_mean_text,
    reason,
    verdict,
)
from gdn_ops.tuner.check.states import State
from gdn_ops.tuner.report import console

LISTED_UNCHANGED = 20
"""With more rows that are unchanged, these are counted and not listed."""
_NAME, _SPARK = 26, 13
"""Columns that a name has in a narrow terminal, and a spark line in any terminal."""
_WIDE, _LONG = 120, 140
"""Columns of a terminal from which on a name stands in one line, and all figures do."""
_STYLES = {
    State.UNCHANGED: "dim", State.IMPROVED: "green", State.INCONCLUSIVE: "yellow",
    State.ENVIRONMENT: "yellow",
}  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """What the table looks like.

    Args:
        width: columns of the terminal; None puts each row in one line, however long.
        blocks: whether the terminal can show block characters.
    """

    width: int | None = None
    blocks: bool = True

    @property
    def long(self) -> bool:
        """Whether the figures of a row stand in one line."""
        return self.width is None or self.width >= _LONG

    @property
    def levels(self) -> str:
        return spark.BLOCKS if self.blocks else spark.ASCII

    def name(self, text: str) -> str:
        """A name, broken at its hyphens where the terminal is narrow."""
        name = one_line(text)
        if self.width is None or self.width >= _WIDE:
            return name
        return "\n".join(wrap(name, _NAME)) or name


Cells = tuple[str, ...]


@dataclass(frozen=True)
class Shown:
    """The table as cells; see ``console.table``."""

    title: str
    columns: Cells
    rows: tuple[Cells, ...]
    styles: tuple[str, ...]


def show(outcome: Outcome) -> None:
    """Print the table, each failing row in a sentence, and a summary."""
    layout = Layout(console.width(), console.carries(spark.BLOCKS))
    shown = table_of(outcome, layout)
    if shown.rows:
        console.table(
            shown.columns,
            shown.rows,
            title=shown.title,
            styles=shown.styles,
            spaced=not layout.long,
        )
        console.say()
    for line in closing(outcome):
        console.say(line)


def table_of(outcome: Outcome, layout: Layout) -> Shown:
    """The rows as cells, in the given order."""
    rows = _listed(outcome)
    if outcome.kind == "static":
        title, columns, cells = "", *_static(rows, layout)
    else:
        limit = spark.limit_of(rows)
        timed = any(row.times is not None for row in rows)
        title = spark.legend(limit, layout.levels) if timed else ""
        columns, cells = _measured(rows, layout, limit)
    return Shown(title, columns, tuple(cells), tuple(_style(row) for row in rows))


def closing(outcome: Outcome) -> tuple[str, ...]:
    """The lines below the table: failing rows, remarks, counts, what was compared, the verdict."""
    hidden = len(outcome.rows) - len(_listed(outcome))
    lines = [f"{one_line(f'{r.name} on {r.target}')}: {sentence(r)}" for r in outcome.failing]
    if hidden:
        lines.append(f"{hidden} unchanged rows are not listed.")
    lines += [one_line(note) for note in outcome.notes]
    numbers = (counts(outcome.rows), geometric_mean_text(outcome))
    lines += ["; ".join(text for text in numbers if text), compared(outcome)]
    code = "" if outcome.interrupted else f" (exit code {outcome.exit_code()})"
    lines.append(f"{verdict(outcome)}: {reason(outcome)}{code}.")
    return tuple(line for line in lines if line)


def _listed(outcome: Outcome) -> tuple[CheckRow, ...]:
    changed = tuple(row for row in outcome.rows if row.state is not State.UNCHANGED)
    unchanged = len(outcome.rows) - len(changed)
    return changed if unchanged > LISTED_UNCHANGED else outcome.rows


def _measured(rows: Sequence[CheckRow], layout: Layout, limit: float) -> tuple[Cells, list[Cells]]:
    if layout.long:
        columns: Cells = (
            "problem<", "base>", "head>", "ratio>", "95 % interval>", "pairs (dropped)",
            "pair ratios<", "state",
        )  # fmt: skip
    else:
        columns = (
            "problem<",
            "base\nhead\npairs\n(dropped)<",
            "ratio\n95 % interval\npair ratios<",
            "state",
        )
    return columns, [_measured_cells(row, layout, limit) for row in rows]


def _measured_cells(row: CheckRow, layout: Layout, limit: float) -> Cells:
    numbers: Cells = ("",) * 6
    if row.times is not None:
        times = row.times
        numbers = (
            base_text(times), head_text(times), ratio_text(times), interval_text(times),
            pairs_text(times), _spark(times, layout, limit),
        )  # fmt: skip
    if not layout.long:
        base, head, ratio, interval, pairs, line = numbers
        numbers = ("\n".join((base, head, pairs)), "\n".join((ratio, interval, line)))
    return layout.name(row.name), *numbers, _state_and_remarks(row)


def _static(rows: Sequence[CheckRow], layout: Layout) -> tuple[Cells, list[Cells]]:
    between = "; " if layout.width is None else "\n"
    return ("kernel<", "target<", "differences", "state"), [
        (
            layout.name(row.name),
            one_line(row.target),
            between.join(difference_text(d) for d in row.differences),
            _state_and_remarks(row),
        )
        for row in rows
    ]


def _state_and_remarks(row: CheckRow) -> str:
    remarks = remarks_text(row)
    return f"{state_text(row)}: {remarks}" if remarks else state_text(row)


def _spark(times: Times, layout: Layout, limit: float) -> str:
    """The row's spark line; empty if its times are not of pairs."""
    if not times.paired:
        return ""
    line = spark.spark(times.ratios, limit, layout.levels)
    if layout.width is None:
        return line
    return "\n".join(line[i : i + _SPARK] for i in range(0, len(line), _SPARK))


def _style(row: CheckRow) -> str:
    if row.failing:
        return "bold red"
    return "yellow" if row.state.failing else _STYLES.get(row.state, "")
