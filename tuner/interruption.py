"""Ctrl-C and SIGTERM: noted at once, acted on where nothing can be lost."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """The user or the system asked for an end.

    A KeyboardInterrupt, so that no ``except Exception`` on its way takes it for a failed trial.
    """


class Interruption:
    """Whether an end was asked for.

    The first signal is only noted, unless the program just waits for a child; the second one
    ends whatever is going on.
    """

    def __init__(self) -> None:
        self.requested = False
        self._waiting = False

    @contextmanager
    def listen(self) -> Iterator[None]:
        """Handle the signals inside the block, which must run in the main thread."""
        before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """A block that a signal may leave at any point."""
        self.check()
        self._waiting = True
        try:
            yield
        finally:
            self._waiting = False

    def check(self) -> None:
        """Raise Interrupted if an end was asked for."""
        if self.requested:
            raise Interrupted

    def _handle(self, number: int, frame: FrameType | None) -> None:
        again, self.requested = self.requested, True
        if again or self._waiting:
            raise Interrupted
