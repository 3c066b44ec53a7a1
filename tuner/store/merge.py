"""Merging: copies the rows of another results database into this one; no row is lost."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from sqlalchemy import inspect, select
from sqlalchemy.orm import Session

from gdn_ops.codegen.errors import ResultsError
from gdn_ops.dispatch.results_file import read_only, schema_version
from gdn_ops.tuner.store.db import Database, open_database, results_errors
from gdn_ops.tuner.store.models import (
    Base,
    EnvironmentRow,
    ProblemRow,
    RunRow,
    TrialRow,
    WinnerRow,
    utc_now,
)
from gdn_ops.tuner.store.rows import name_of, require_sound

Ids = dict[int, int]
Row = TypeVar("Row", EnvironmentRow, RunRow, TrialRow)


@dataclass(frozen=True, kw_only=True)
class Merged:
    """How many new rows a merge added."""

    environments: int
    problems: int
    runs: int
    trials: int
    winners: int


def merge(database: Database, other: Path) -> Merged:
    """Copy every row of another database that this one lacks; merging it again adds nothing.

    Rows are recognized by their ``uid``. If both databases have a current winner of a problem on a
    target, a measured one is preferred to a predicted one, then the newer one; the other one is
    superseded. The faster one would not be a better choice, because times of two machines do not
    compare.

    Raises:
        ResultsError: the other database is missing, corrupt or of a newer version, or this one
            cannot be written. This one is then unchanged.
    """
    with TemporaryDirectory() as folder:
        copy = Path(folder) / "other.db"
        _copy(other, copy)
        # a copy is upgraded where needed, so that the other database stays unchanged
        with open_database(copy, create=True) as source:
            if faults := source.faults():
                raise ResultsError(
                    f"{other} is damaged ({len(faults)} faults, the first: {faults[0]}) and was "
                    "not merged; repair it (`sqlite3 FILE .recover` may save rows) and try again."
                )
            with source.read() as there, database.write() as here:
                return _merge(there, here)


def _copy(other: Path, copy: Path) -> None:
    with read_only(other) as connection, results_errors(copy):
        schema_version(connection, other)
        with closing(sqlite3.connect(copy)) as target:
            connection.backup(target)


def _merge(there: Session, here: Session) -> Merged:
    environments, new_environments = _bring(there, here, EnvironmentRow, "hash")
    new_problems = _bring_problems(there, here)
    runs, new_runs = _bring(there, here, RunRow, "uid")
    _end_runs(there, here)
    links = {"run_id": runs, "environment_id": environments}
    trials, new_trials = _bring(there, here, TrialRow, "uid", links)
    links = {"trial_id": trials, "environment_id": environments}
    new_winners = _bring_winners(there, here, links)
    return Merged(
        environments=new_environments,
        problems=new_problems,
        runs=new_runs,
        trials=new_trials,
        winners=new_winners,
    )


def _bring(
    there: Session,
    here: Session,
    table: type[Row],
    identity: str,
    links: dict[str, Ids] | None = None,
) -> tuple[Ids, int]:
    """Copy new rows; returns the ids here by the ids there, and how many rows were new."""
    key = getattr(table, identity)
    ids = {row[0]: row[1] for row in here.execute(select(key, table.id))}
    known = len(ids)
    found: Ids = {}
    for row in there.scalars(select(table).order_by(table.id).execution_options(yield_per=500)):
        _require_sound(row)
        name = getattr(row, identity)
        if name not in ids:
            copy = table(**_values(row, links or {}))
            here.add(copy)
            here.flush()
            ids[name] = copy.id
        found[row.id] = ids[name]
    return found, len(ids) - known


def _bring_problems(there: Session, here: Session) -> int:
    known = set(here.scalars(select(ProblemRow.id)))
    new = [row for row in there.scalars(select(ProblemRow)) if row.id not in known]
    for row in new:
        _require_sound(row)
    here.add_all(ProblemRow(id=row.id, facts=row.facts) for row in new)
    here.flush()
    return len(new)


def _end_runs(there: Session, here: Session) -> None:
    """Update runs that were running when they were merged and have ended since."""
    for row in here.scalars(select(RunRow).where(RunRow.status == "running")):
        other = there.scalar(select(RunRow).where(RunRow.uid == row.uid))
        if other is not None:
            row.status, row.finished = other.status, other.finished


def _bring_winners(there: Session, here: Session, links: dict[str, Ids]) -> int:
    known = {row.uid: row for row in here.scalars(select(WinnerRow))}
    new = 0
    for other in there.scalars(select(WinnerRow).order_by(WinnerRow.id)):
        _require_sound(other)
        row = known.get(other.uid)
        if row is None:
            new += 1
            _enter(here, WinnerRow(**_values(other, links)))
        elif row.superseded is None and other.superseded is not None:
            row.superseded = other.superseded
            here.flush()
    return new


def _enter(here: Session, new: WinnerRow) -> None:
    """Add a winner; if there is a current one already, supersede the one that is not preferred."""
    if new.superseded is None:
        current = here.scalar(
            select(WinnerRow)
            .where(WinnerRow.problem_id == new.problem_id, WinnerRow.target == new.target)
            .where(WinnerRow.superseded.is_(None))
        )
        if current is not None:
            _require_sound(current)
            loser = min(current, new, key=_standing)
            loser.superseded = utc_now()
            here.flush()
    here.add(new)
    here.flush()


def _standing(row: WinnerRow) -> tuple[bool, datetime, str]:
    return row.provenance == "measured", row.created, row.uid


def _require_sound(row: Base) -> None:
    try:
        require_sound(row)
    except ValueError as error:
        raise ResultsError(
            f"{name_of(row)} is malformed ({error}) and nothing was merged; repair or delete that "
            "row and try again."
        ) from error


def _values(row: Base, links: dict[str, Ids]) -> dict[str, Any]:
    names = (attribute.key for attribute in inspect(type(row)).column_attrs)
    values = {name: getattr(row, name) for name in names if name != "id"}
    for name, ids in links.items():
        values[name] = None if values[name] is None else ids[values[name]]
    return values
