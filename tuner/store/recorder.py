"""What the parts of a store share: its database, its reader of rows, and how a row is added."""

from __future__ import annotations

import warnings
from typing import Any, TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from gdn_ops.codegen.errors import ResultsError
from gdn_ops.tuner.store.database import Database
from gdn_ops.tuner.store.models import RunRow, TrialRow, WinnerRow
from gdn_ops.tuner.store.rows import RowReader, Warn

Numbered = TypeVar("Numbered", RunRow, TrialRow, WinnerRow)


class Recorder:
    """A results database that records are written to and read from.

    Args:
        warn: is called with a sentence that names a malformed row, or a server that is away.
    """

    def __init__(self, database: Database, *, warn: Warn = warnings.warn) -> None:
        self.database = database
        self.warn = warn
        self._rows = RowReader(warn)

    def _insert(self, session: Session, table: type[Numbered], values: dict[str, Any]) -> int:
        """Add a row and return its number."""
        stored = self._stored(session, table, values)
        if stored is not None:
            return stored
        row = table(**values)
        session.add(row)
        session.flush()
        return row.id

    def _stored(
        self, session: Session, table: type[Numbered], values: dict[str, Any]
    ) -> int | None:
        """The number of the row with this uid, if a call stored it and its answer was lost."""
        if not self.database.patience:
            return None
        return session.scalar(select(table.id).where(table.uid == values["uid"]))

    def _no_row(self, kind: str, row: int) -> ResultsError:
        return ResultsError(
            f"{self.database.location} has no {kind} {row}; every database numbers its rows anew, "
            "`gdn show` lists them."
        )
