"""Lines of several searches that run side by side: each says which node it is from."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import TextIO, cast

from gdn_ops.tuner.report.progress import LinesView, Note


class Lines:
    """Prints lines, one at a time.

    Args:
        stream: standard output by default.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream, self._lock = stream or sys.stdout, threading.Lock()

    def view(self, label: Callable[[], str]) -> LinesView:
        """A view whose lines start with a node's name.

        Args:
            label: is called for each line, because a search may move to another node.
        """
        return LinesView(cast(TextIO, _Labelled(self, label)))

    def note(self, text: str) -> None:
        """Print a line that is of no search."""
        self.view(str)(Note(text=text))

    def write(self, line: str) -> None:
        with self._lock:
            self._stream.write(line + "\n")
            self._stream.flush()


class _Labelled:
    """A stream that passes whole lines on, with a label."""

    def __init__(self, lines: Lines, label: Callable[[], str]) -> None:
        self._lines, self._label, self._part = lines, label, ""

    def write(self, text: str) -> int:
        *whole, self._part = (self._part + text).split("\n")
        for line in whole:
            label = self._label()
            self._lines.write(f"[{label}] {line}" if label else line)
        return len(text)

    def flush(self) -> None:
        """Nothing: a line is written as soon as it is whole."""
