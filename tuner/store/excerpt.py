"""An excerpt of a database on a server: its winners, with what explains and exports them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import bindparam, text
from sqlalchemy.orm import Session
from sqlalchemy.types import ARRAY, String

from gdn_ops.codegen.errors import InvalidInput
from gdn_ops.results_url import ResultsUrl
from gdn_ops.tuner.store.db import open_database
from gdn_ops.tuner.store.models import FAILED, Base

BATCH = 500

_WANTED = f"""
WITH chosen AS (
    SELECT * FROM winner_rows WHERE :every OR target = ANY(:targets)
), latest AS (
    SELECT DISTINCT ON (t.config_hash, t.environment_id) t.id, t.status
    FROM trials AS t
    JOIN chosen AS w ON (w.target, w.problem_id) = (t.target, t.problem_id)
    WHERE w.superseded IS NULL
    ORDER BY t.config_hash, t.environment_id, t.created DESC, t.id DESC
), wanted AS (
    SELECT trial_id AS id FROM chosen WHERE trial_id IS NOT NULL
    UNION SELECT id FROM latest WHERE status IN ({", ".join(f"'{status}'" for status in FAILED)})
)
"""
_ROWS = {
    "environments": "id IN (SELECT environment_id FROM chosen) OR id IN "
    "(SELECT environment_id FROM trials WHERE id IN (SELECT id FROM wanted))",
    "problems": "id IN (SELECT problem_id FROM chosen)",
    "runs": "id IN (SELECT run_id FROM trials WHERE id IN (SELECT id FROM wanted))",
    "trials": "id IN (SELECT id FROM wanted)",
    "winner_rows": "id IN (SELECT id FROM chosen)",
}
"""The rows of each table: winners, also superseded ones, so that a file learns of its own that they
are; their trials; and the failed trials of their problems, which an export lists."""


@dataclass(frozen=True)
class Excerpt:
    """The winners of some targets, or of all if ``targets`` is empty, on a server."""

    url: ResultsUrl
    targets: tuple[str, ...] = ()

    def __str__(self) -> str:
        return str(self.url)

    def write(self, path: Path) -> None:
        """Write the excerpt to a new file, with the numbers that the rows have on the server.

        Raises:
            InvalidInput: there are no such winners.
            ResultsError: the server cannot be read.
        """
        with open_database(self.url, create=False, writable=False) as database:
            open_database(path, create=True).close()
            with database.read() as session, closing(sqlite3.connect(path)) as copy, copy:
                self._require_winners(session)
                for table in _ROWS:
                    self._copy(session, table, copy)

    def _require_winners(self, session: Session) -> None:
        query = text("SELECT DISTINCT target FROM winner_rows WHERE superseded IS NULL")
        stored = set(session.scalars(query))
        lacking = [name for name in self.targets if name not in stored]
        if lacking or not stored:
            known = ", ".join(sorted(stored)) or "no target"
            of = f" of {', '.join(lacking)}" if lacking else ""
            raise InvalidInput(
                f"{self.url} has no winners{of}; it has winners of {known}. Run `gdn tune --db "
                f"{self.url}` on the device."
            )

    def _copy(self, session: Session, table: str, copy: sqlite3.Connection) -> None:
        columns = [column.name for column in Base.metadata.tables[table].columns]
        listed = ", ".join(columns)
        # the values are as they are stored, JSON as text; the merge judges each row
        query = text(
            f"{_WANTED} SELECT {listed} FROM {table} WHERE {_ROWS[table]} ORDER BY id"
        ).bindparams(bindparam("targets", type_=ARRAY(String)))
        values: dict[str, Any] = {"every": not self.targets, "targets": list(self.targets)}
        options = {"yield_per": BATCH}
        into = f"INSERT INTO {table} ({listed}) VALUES ({', '.join('?' * len(columns))})"
        for rows in session.execute(query, values, execution_options=options).partitions():
            copy.executemany(into, [tuple(row) for row in rows])
