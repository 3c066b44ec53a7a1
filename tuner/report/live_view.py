"""The progress of a tuning run in a terminal that can be redrawn."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gdn_ops.seconds import seconds_text
from gdn_ops.tuner.report.printable import printable
from gdn_ops.tuner.report.progress import (
    Event,
    Note,
    ProblemEnded,
    ProblemStarted,
    SpaceTally,
    Tally,
    TrialEnded,
    WinnerStored,
    line_of,
)
from gdn_ops.tuner.report.time_left import Part, TimeLeft

BAR = 32
"""Columns of a bar."""
RECENT = 3
"""Number of latest trials that are shown below the table."""


class LiveView:
    """Bars with the time that is left, and a table of the current problem's searches.

    It is redrawn four times a second.
    """

    def __init__(self, console: Console) -> None:
        self._tally = Tally()
        self._time = TimeLeft()
        self._recent: list[str] = []
        self._live = Live(
            console=console, get_renderable=self._render, refresh_per_second=4, transient=True
        )

    def __enter__(self) -> LiveView:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def __call__(self, event: Event) -> None:
        self._tally.add(event)
        if isinstance(event, TrialEnded):
            if event.fresh:
                line = line_of(event, self._tally).strip()
                self._recent = [*self._recent, line][-RECENT:]
        elif isinstance(event, ProblemStarted):
            self._recent = []
            self._time.start(
                number=event.number, total=event.total, deadline=event.deadline, whole=event.whole
            )
        elif isinstance(event, WinnerStored):
            if event.final:
                self._keep(f"{event.winner.problem_id}: {event.text}")
        elif isinstance(event, ProblemEnded | Note):
            self._keep(line_of(event, self._tally).strip())

    def _keep(self, line: str) -> None:
        """Print a line above the table; it stays when the table is redrawn."""
        self._live.console.print(Text(printable(line)))

    def _render(self) -> RenderableType:
        problem = self._tally.problem
        if problem is None:
            return Text("reading earlier results")
        head = f"problem {problem.number} of {problem.total}: {printable(problem.problem_id)}"
        parts: list[RenderableType] = [Text(head, style="bold"), self._bars(), self._spaces()]
        if self._tally.finals:
            parts.append(Text(f"finals: {self._tally.finals} variants, interleaved"))
        for line in self._recent:
            line = printable(line)
            parts.append(Text(line, style="dim", overflow="ellipsis", no_wrap=True))
        return Group(*parts)

    def _bars(self) -> Table:
        shown = Table.grid(padding=(0, 1))
        parts = [self._time.run(), self._time.problem(), self._search()]
        for part in parts:
            if part is not None:
                bar = ProgressBar(total=1.0, completed=part.done, width=BAR)
                shown.add_row(Text(part.name), bar, Text(part.text))
        return shown

    def _search(self) -> Part | None:
        """The current search, by its trials; an earlier run's count."""
        tally = self._tally.spaces.get(self._tally.current)
        if tally is None or not tally.configs or self._tally.finals:
            return None
        most = max(tally.tried, min(tally.configs, tally.known + tally.trials), 1)
        return Part("this search", tally.tried / most, f"{tally.tried} of {most} trials")

    def _spaces(self) -> Table:
        # the last column gets the width that the others leave, or all are cut in a narrow terminal
        shown = Table(box=None, header_style="bold", expand=True)
        for column in ("search", "tried", "of", "correct", "failed", "best"):
            shown.add_column(column, justify="left" if column in ("search", "best") else "right")
        shown.add_column("with", overflow="ellipsis", no_wrap=True, ratio=1)
        for tally in list(self._tally.spaces.values())[-12:]:
            shown.add_row(*_row(tally), style="" if tally.space == self._tally.current else "dim")
        return shown


def _row(tally: SpaceTally) -> tuple[str, ...]:
    return (
        tally.space,
        str(tally.tried),
        str(tally.configs) if tally.configs else "",
        str(tally.ok),
        str(tally.failed),
        seconds_text(tally.best),
        tally.best_text or ("the defaults" if tally.best is not None else ""),
    )
