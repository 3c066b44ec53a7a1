"""The terminal: live progress, tables and errors. No other file imports rich."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from gdn_ops.seconds import seconds_text
from gdn_ops.tuner.report.printable import printable
from gdn_ops.tuner.report.progress import (
    Event,
    LinesView,
    Note,
    ProblemEnded,
    ProblemStarted,
    SpaceTally,
    Tally,
    TrialEnded,
    View,
    WinnerStored,
    line_of,
)
from gdn_ops.tuner.report.time_left import Part, TimeLeft

BAR = 32
"""Columns of a bar."""
MOST_LAID_OUT = 50
"""Rows of a table that Rich lays out where standard output is no terminal."""
RECENT = 3
"""Number of latest trials that are shown below the table."""


_ON_STDERR: ContextVar[bool] = ContextVar("on_stderr", default=False)


class ReaderLeft(Exception):
    """Who read standard output has enough, as in ``gdn show | head``."""


@contextmanager
def for_people(*, on_stderr: bool) -> Iterator[None]:
    """Inside the block all that is printed for people goes to standard error, if so wanted."""
    token = _ON_STDERR.set(on_stderr)
    try:
        yield
    finally:
        _ON_STDERR.reset(token)


def give(document: str) -> None:
    """Print a document for scripts on standard output, exactly as it is.

    Raises:
        ReaderLeft: nobody reads standard output any more.
    """
    try:
        sys.stdout.write(document)
        sys.stdout.flush()
    except BrokenPipeError as error:
        raise ReaderLeft from error


def say(text: str = "") -> None:
    """Print a line without markup and control characters."""
    _console().print(_shown(text), markup=False, highlight=False, soft_wrap=True)


def fail(text: str) -> None:
    """Print an error as one line on standard error."""
    _on_stderr(text, style="red")


def remark(text: str) -> None:
    """Print a remark as one line on standard error, so that a pipe does not get it."""
    _on_stderr(text, style="")


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    title: str = "",
    styles: Sequence[str] = (),
    spaced: bool = False,
) -> None:
    """Print a table; columns are left-aligned, and their texts are folded if they must be.

    A column whose heading ends in ``>`` is right-aligned and not folded; one whose heading ends in
    ``<`` is not folded.

    In a terminal it is as wide as the terminal; elsewhere as wide as the rows need.

    Args:
        styles: a Rich style per row, e.g. ``bold red``; none by default.
        spaced: leave an empty line between rows, for cells of several lines.
    """
    console = _console()
    if len(rows) > MOST_LAID_OUT and not console.is_terminal:
        _print_plain(columns, rows, title)
        return
    shown = Table(
        title=Text(_shown(title)) if title else None,
        title_justify="left",
        header_style="bold",
        box=None,
        padding=(0, 1, int(spaced), 1),
    )
    for column in columns:
        number = column.endswith(">")
        shown.add_column(
            column.removesuffix(">").removesuffix("<"),
            justify="right" if number else "left",
            no_wrap=number or column.endswith("<"),
            overflow="fold",
        )
    for row, style in zip(rows, styles or [""] * len(rows), strict=True):
        shown.add_row(*(Text(_shown(cell)) for cell in row), style=style)
    if not console.is_terminal:
        console.width = 1000
    console.print(shown)


def _print_plain(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str) -> None:
    """Print a table as Rich does to a file, only quickly: it takes milliseconds per row."""
    right = [column.endswith(">") for column in columns]
    lines = [[column.removesuffix(">").removesuffix("<") for column in columns], *rows]
    texts = [[" ".join(_shown(cell).split("\n")) for cell in line] for line in lines]
    widths = [max(cell_len(text) for text in column) for column in zip(*texts, strict=True)]
    if title:
        say(title)
    for line in texts:
        cells = zip(line, widths, right, strict=True)
        padded = [
            f" {' ' * (width - cell_len(text))}{text} " if to_right
            else f" {text}{' ' * (width - cell_len(text))} "
            for text, width, to_right in cells
        ]  # fmt: skip
        try:
            sys.stdout.write("".join(padded) + "\n")
        except BrokenPipeError as error:
            raise ReaderLeft from error


def width() -> int | None:
    """Columns of the terminal; None if standard output is none."""
    console = _console()
    return console.width if console.is_terminal else None


def carries(text: str) -> bool:
    """Whether the encoding of standard output has every character of a text."""
    try:
        text.encode(_encoding())
    except UnicodeEncodeError:
        return False
    return True


def source(code: str, *, language: str = "python") -> None:
    """Print code: with colours in a terminal, unchanged elsewhere."""
    stream = _stream()
    if stream.isatty():
        _console().print(Syntax(code, language, background_color="default"))
    else:
        stream.write(code)


def progress_view() -> View:
    """A live view in a terminal that can be redrawn, else a view with one line per event."""
    stream, console = _stream(), _console()
    # FORCE_COLOR makes Rich take any log for a terminal, which would then get each redrawn frame
    live = stream.isatty() and not console.is_dumb_terminal
    return LiveView(console) if live else LinesView(stream)


def progress_stream() -> TextIO:
    """Where lines about the progress go."""
    return _stream()


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
        shown = Table(box=None, header_style="bold")
        for column in ("search", "tried", "of", "correct", "failed", "best"):
            shown.add_column(column, justify="left" if column in ("search", "best") else "right")
        shown.add_column("with", overflow="ellipsis", no_wrap=True)
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


def _on_stderr(text: str, *, style: str) -> None:
    line = " ".join(printable(text).split())
    Console(stderr=True).print(Text(f"gdn: {line}", style=style), soft_wrap=True)


def _shown(text: str) -> str:
    """The text without control characters, and with escapes for what the encoding cannot carry."""
    encoding = _encoding()
    return printable(text).encode(encoding, "backslashreplace").decode(encoding)


def _encoding() -> str:
    return getattr(_stream(), "encoding", None) or "utf-8"


def _stream() -> TextIO:
    return sys.stderr if _ON_STDERR.get() else sys.stdout


class _Standard(Console):
    def on_broken_pipe(self) -> None:
        raise ReaderLeft


def _console() -> Console:
    return _Standard(file=_stream())
