"""Ctrl-C and SIGTERM: noted at once, acted on at points where no trial is lost."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """The user or the system asked the program to end.

    It is a KeyboardInterrupt, so that ``except Exception`` does not take it for a failed trial.
    """


@contextmanager
def held_back() -> Iterator[None]:
    """Inside the block the signals only wait; the first one acts at its end.

    They are not masked: a mask is of one thread, and the system gives a signal to any other one.
    Outside of the main thread, which alone can handle signals, nothing is held back.
    """
    taken: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        number: signal.signal(number, lambda number, frame: taken.append(number))
        for number in SIGNALS
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if taken:
            signal.raise_signal(taken[0])


class Interruption:
    """Whether the program was asked to end.

    The first signal is only noted, to be seen by ``check``, unless the program is waiting for a
    child process. The second signal raises Interrupted at once.
    """

    def __init__(self) -> None:
        self.requested = False
        self._waiting = False

    @contextmanager
    def listen(self) -> Iterator[None]:
        """Handle the signals inside the block; must be used in the main thread."""
        before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Inside the block a signal raises Interrupted at once, because nothing can be lost."""
        self.check()
        self._waiting = True
        try:
            yield
        finally:
            self._waiting = False

    def check(self) -> None:
        """Raise Interrupted if a signal was received."""
        if self.requested:
            raise Interrupted

    def _handle(self, number: int, frame: FrameType | None) -> None:
        again, self.requested = self.requested, True
        if again or self._waiting:
            raise Interrupted
