"""The interruption of a search in a thread of its own: it looks at the main thread's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gdn_ops.tuner.interruption import Interruption


class Relay(Interruption):
    """Interrupted once the main thread is, or once another search has failed.

    Signals reach the main thread alone, so nothing is raised here while a block waits: what waits
    looks at ``check`` from time to time.
    """

    def __init__(self, main: Interruption) -> None:
        super().__init__()
        self._main = main

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Raise Interrupted now if it is due."""
        self.check()
        yield

    def check(self) -> None:
        """Raise Interrupted if the main thread is interrupted, or this search is to end."""
        if self.requested:
            super().check()
        self._main.check()
