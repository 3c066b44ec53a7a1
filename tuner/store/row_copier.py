"""Copying rows of one database into another: new ones are added, unusable ones refused by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import inspect, select
from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.orm import Session

from gdn_ops.tuner.store.merge_source import Source
from gdn_ops.tuner.store.models import Base, EnvironmentRow, ProblemRow, RunRow, TrialRow
from gdn_ops.tuner.store.records import Run, Trial
from gdn_ops.tuner.store.rows import name_of, require_sound

Row = TypeVar("Row", EnvironmentRow, RunRow, TrialRow)
LINKS: dict[str, type[Base]] = {
    "run_id": RunRow,
    "environment_id": EnvironmentRow,
    "trial_id": TrialRow,
}
"""Columns that hold the number of a row, which every database gives anew."""
BATCH = 500


@dataclass(frozen=True, kw_only=True)
class RefusedRow:
    """A row that was not copied, e.g. ``row 3 of trials``, and why."""

    source: Source
    row: str
    why: str


class RowCopier:
    """Copies what one database has and another lacks, except winners.

    Rows are recognized by their ``uid`` (environments by their ``hash``). A row that is known stays
    as it is.

    Args:
        there, here: sessions of the database that is read and of the one that is written.
        source: what is read, for messages.
    """

    def __init__(self, there: Session, here: Session, source: Source) -> None:
        self.there, self.here, self.source = there, here, source
        self.refused: list[RefusedRow] = []
        self.added: Counter[str] = Counter()
        self._ids: dict[type[Base], dict[int, int]] = {}
        self._problems: set[str] = set()

    def copy(self) -> None:
        """Copy environments, problems, runs and trials."""
        self._copy(EnvironmentRow, "hash", self._require_known_content)
        self._copy_problems()
        self._copy(RunRow, "uid", Run.of)
        self._end_runs()
        self._copy(TrialRow, "uid", Trial.of)

    def values(self, row: Base) -> dict[str, Any]:
        """The values of a row for a copy here; numbers of rows become those of here.

        Raises:
            ValueError: it points to a row that is missing or was refused.
        """
        names = (attribute.key for attribute in inspect(type(row)).column_attrs)
        values = {name: getattr(row, name) for name in names if name != "id"}
        for name, table in LINKS.items():
            if values.get(name) is not None:
                values[name] = self._link(table, values[name])
        problem = values.get("problem_id")
        if problem is not None and problem not in self._problems:
            raise ValueError(f"it is of the problem {problem:.80}, which is missing or was refused")
        return values

    def refuse(self, row: Base, error: Exception) -> None:
        """Note that a row is not copied."""
        self.refused.append(RefusedRow(source=self.source, row=name_of(row), why=str(error)))

    def _link(self, table: type[Base], row_id: int) -> int:
        found = self._ids.get(table, {}).get(row_id)
        if found is None:
            name = f"row {row_id} of {table.__tablename__}"
            raise ValueError(f"it points to {name}, which is missing or was refused")
        return found

    def _copy(self, table: type[Row], identity: str, check: Callable[[Row], object]) -> None:
        key = getattr(table, identity)
        known = {row[0]: row[1] for row in self.here.execute(select(key, table.id))}
        self._ids[table] = {}
        rows = select(table).order_by(table.id).execution_options(yield_per=BATCH)
        for batch in self.there.scalars(rows).partitions():
            new: dict[Row, Row] = {}
            for row in batch:
                try:
                    require_sound(row)
                    check(row)
                    if getattr(row, identity) in known:
                        self._ids[table][row.id] = known[getattr(row, identity)]
                    else:
                        new[row] = table(**self.values(row))
                except (ValueError, TypeError) as error:
                    self.refuse(row, error)
            for row, copy in self._add_all(new).items():
                self._ids[table][row.id] = copy.id

    def _add_all(self, copies: dict[Row, Row]) -> dict[Row, Row]:
        """Add the copies of rows, together because that is much faster; returns those added."""
        try:
            self._add(*copies.values())
            return copies
        except ValueError:  # at least one of them is forbidden: find out which
            added = {}
            for row in copies:
                try:
                    added[row] = self._add(type(row)(**self.values(row)))
                except ValueError as error:
                    self.refuse(row, error)
            return added

    def _copy_problems(self) -> None:
        known = set(self.here.scalars(select(ProblemRow.id)))
        for row in self.there.scalars(select(ProblemRow).order_by(ProblemRow.id)):
            try:
                require_sound(row)
                if row.id not in known:
                    self._add(ProblemRow(id=row.id, facts=row.facts))
            except (ValueError, TypeError) as error:
                self.refuse(row, error)
            else:
                self._problems.add(row.id)

    def _add(self, *rows: Any) -> Any:
        """Add rows and return the last; raise ValueError if a constraint forbids one of them."""
        try:
            with self.here.begin_nested():
                self.here.add_all(rows)
                self.here.flush()
        except (DataError, IntegrityError) as error:  # DataError: PostgreSQL takes no NUL in a text
            raise ValueError(str(error.orig)) from error
        for row in rows:
            self.added[row.__tablename__] += 1
        return rows[-1] if rows else None

    def _require_known_content(self, row: EnvironmentRow) -> None:
        """Refuse an environment that has the hash of one here and other content."""
        ours = self.here.scalar(select(EnvironmentRow).where(EnvironmentRow.hash == row.hash))
        if ours is not None and _content(ours) != _content(row):
            raise ValueError(f"its hash {row.hash:.40} is stored with other content")

    def _end_runs(self) -> None:
        """Update runs that were running when they were copied and have ended since."""
        for row in self.here.scalars(select(RunRow).where(RunRow.status == "running")):
            other = self.there.scalar(select(RunRow).where(RunRow.uid == row.uid))
            if other is not None and other.id in self._ids[RunRow]:
                row.status, row.finished = other.status, other.finished
        self.here.flush()


def _content(row: EnvironmentRow) -> dict[str, Any]:
    names = (attribute.key for attribute in inspect(EnvironmentRow).column_attrs)
    return {name: getattr(row, name) for name in names if name != "id"}
