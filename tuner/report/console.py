"""The terminal: tables, source and errors. Only this file and the live view import rich."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from gdn_ops.tuner.report.live_view import LiveView
from gdn_ops.tuner.report.printable import printable
from gdn_ops.tuner.report.progress import LinesView, View

MOST_LAID_OUT = 50
"""Rows of a table that Rich lays out where standard output is no terminal."""

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
    """Print a line without markup, and with escapes for control characters."""
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
            _heading(column),
            justify="right" if number else "left",
            no_wrap=number or column.endswith("<"),
            overflow="fold",
        )
    for row, style in zip(rows, styles or [""] * len(rows), strict=True):
        shown.add_row(*(Text(_shown(cell)) for cell in row), style=style)
    if not console.is_terminal:
        console.width = 1000
    console.print(shown)


def _heading(column: str) -> str:
    """The text of a heading, without the sign that says how its column is set."""
    return column.removesuffix(">").removesuffix("<")


def _print_plain(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str) -> None:
    """Print a table as Rich does to a file, only quickly: it takes milliseconds per row."""
    right = [column.endswith(">") for column in columns]
    lines = [[_heading(column) for column in columns], *rows]
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


def fits(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether a table is printed without folding its texts."""
    here = width()
    heads = [_heading(column) for column in columns]
    widths = [max(map(cell_len, column)) + 2 for column in zip(heads, *rows, strict=True)]
    return here is None or sum(widths) <= here


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


def _on_stderr(text: str, *, style: str) -> None:
    line = " ".join(printable(text).split())
    Console(stderr=True).print(Text(f"gdn: {line}", style=style), soft_wrap=True)


def _shown(text: str) -> str:
    """The text with escapes for control characters and for what the encoding cannot carry."""
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
