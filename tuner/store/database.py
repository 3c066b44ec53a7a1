"""An open results database: what the store needs of it, whether it is a file or on a server."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from types import TracebackType
from typing import ClassVar

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from gdn_ops.codegen.errors import ResultsError
from gdn_ops.results_url import Location


class NoResults(ResultsError):
    """A server's database has no tables of ours yet."""


class Database(ABC):
    """An open results database, used through ``read`` and ``write``.

    Both turn errors of the database into a ResultsError that names it and the remedy.
    """

    patience: ClassVar[float] = 0.0
    """For how many seconds a transaction is tried again if the database is away."""

    def __init__(self, location: Location, engine: Engine) -> None:
        self.location, self.engine = location, engine

    @abstractmethod
    def read(self) -> AbstractContextManager[Session]:
        """A session that sees one consistent state."""

    @abstractmethod
    def write(self, *, alone: bool = True) -> AbstractContextManager[Session]:
        """A transaction: stored once the block is left, undone if the block raises.

        It takes the lock of all writers when it starts, so that what it reads still holds when it
        writes.

        Args:
            alone: False if the block reads nothing, and may therefore run beside others.
        """

    @abstractmethod
    def faults(self) -> list[str]:
        """What integrity checks find; empty if the database is not damaged."""

    def close(self) -> None:
        """Close the connections."""
        self.engine.dispose()

    def __enter__(self) -> Database:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
