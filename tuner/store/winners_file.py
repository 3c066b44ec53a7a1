"""A file of winners to hand on: a small results database with current winners and their proof."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from sqlalchemy import inspect, select
from sqlalchemy.orm import Session

from gdn_ops.codegen.errors import ResultsError
from gdn_ops.dispatch.results_file import exists
from gdn_ops.results_url import Location
from gdn_ops.tuner.store.canonical_copy import write_canonical
from gdn_ops.tuner.store.database import Database
from gdn_ops.tuner.store.db import make_folder_of, open_database, results_errors
from gdn_ops.tuner.store.merge_files import part_of, place
from gdn_ops.tuner.store.models import (
    Base,
    EnvironmentRow,
    ProblemRow,
    RunRow,
    TrialRow,
    WinnerRow,
    utc_now,
)
from gdn_ops.tuner.store.records import Run, StoredWinner
from gdn_ops.tuner.store.rows import name_of, require_sound
from gdn_ops.tuner.store.usable import usable
from gdn_ops.tuner.store.winners import winner_row

Row = TypeVar("Row", bound=Base)


@dataclass(frozen=True, kw_only=True)
class WinnersFile:
    """What was written.

    Args:
        winners: the winners in the file, ordered by target and problem; numbers of rows are those
            of the database they were read from.
        left_out: the winners that cannot be used today, as sentences that name the row and why.
    """

    path: Path
    winners: tuple[StoredWinner, ...]
    left_out: tuple[str, ...]


@dataclass
class _Proof:
    """The rows of one winner."""

    winner: WinnerRow
    problem: ProblemRow
    trial: TrialRow | None
    environment: EnvironmentRow | None
    run: RunRow | None


def write_winners(
    database: Database,
    path: Path,
    *,
    targets: Collection[str] | None = None,
    problems: Collection[str] | None = None,
    earlier: Mapping[tuple[str, str], int] | None = None,
) -> WinnersFile:
    """Write the current winners of a database to a new file, which ``gdn merge`` takes.

    With each winner go its problem, the trial that measured it, and that trial's environment and
    run. The file is a results database that the dispatcher can read, also from read-only media. The
    same rows give the same bytes with the same version of SQLite, whatever order or numbers they
    have in the database.

    Args:
        targets: names of targets; None for all.
        problems: ids of problem buckets; None for all.
        earlier: by problem and target the trial of the winner that is written as the current one
            in place of it.

    Raises:
        ResultsError: the path exists or cannot be written, the database cannot be read, or it has
            no winner to write. No file is left then.
    """
    if exists(path):
        raise ResultsError(f"{path} exists; it was left as it is. Delete it or give another name.")
    with database.read() as session:
        proofs, left_out = _proofs(session, targets, problems, earlier or {})
        if not proofs:
            raise _none(database.location, session, left_out)
        winners = tuple(replace(StoredWinner.of(p.winner), superseded=None) for p in proofs)
        with TemporaryDirectory(prefix="gdn-winners-") as folder:
            draft = Path(folder) / "winners.db"
            with open_database(draft, create=True) as new, new.write() as there:
                _copy(proofs, there)
            _compact(draft, path)
    return WinnersFile(path=path, winners=winners, left_out=tuple(left_out))


def _proofs(
    session: Session,
    targets: Collection[str] | None,
    problems: Collection[str] | None,
    earlier: Mapping[tuple[str, str], int],
) -> tuple[list[_Proof], list[str]]:
    query = select(WinnerRow).where(WinnerRow.superseded.is_(None))
    if targets is not None:
        query = query.where(WinnerRow.target.in_(targets))
    if problems is not None:
        query = query.where(WinnerRow.problem_id.in_(problems))
    proofs, left_out = [], []
    # sorted here: a server may order texts by the rules of a language
    for row in sorted(
        session.scalars(query), key=lambda row: (str(row.target), str(row.problem_id))
    ):
        key = (row.problem_id, row.target)
        chosen = winner_row(session, *key, earlier[key]) if key in earlier else row
        try:
            proofs.append(_proof(session, chosen or row))
        except (ValueError, TypeError) as error:
            left_out.append(f"left out {name_of(row)}: {error}")
    return proofs, left_out


def _proof(session: Session, row: WinnerRow) -> _Proof:
    """The rows of a winner; raises ValueError or TypeError if it cannot be used."""
    require_sound(row)
    trial = _linked(session, TrialRow, row.trial_id)
    proof = _Proof(
        winner=row,
        problem=_needed(session, ProblemRow, row.problem_id),
        trial=trial,
        environment=_linked(session, EnvironmentRow, row.environment_id),
        run=None if trial is None else _needed(session, RunRow, trial.run_id),
    )
    if proof.run is not None:
        Run.of(proof.run)
    usable(StoredWinner.of(row), proof.problem.facts, trial, utc_now())
    return proof


def _linked(session: Session, table: type[Row], key: int | None) -> Row | None:
    return None if key is None else _needed(session, table, key)


def _needed(session: Session, table: type[Row], key: int | str) -> Row:
    row = session.get(table, key)
    if row is None:
        raise ValueError(f"row {key} of {table.__tablename__} is missing")
    require_sound(row)
    return row


def _copy(proofs: Iterable[_Proof], there: Session) -> None:
    """Insert the rows in an order and with numbers that follow from their content alone."""
    proofs = list(proofs)
    there.add_all(
        ProblemRow(id=name, facts=row.facts)
        for name, row in sorted({p.problem.id: p.problem for p in proofs}.items())
    )
    environments = _insert(there, {p.environment.hash: p.environment for p in proofs
                                   if p.environment is not None})  # fmt: skip
    runs = _insert(there, {p.run.uid: p.run for p in proofs if p.run is not None})
    links = {"run_id": runs, "environment_id": environments}
    trials = _insert(there, {p.trial.uid: p.trial for p in proofs if p.trial is not None}, links)
    links = {"trial_id": trials, "environment_id": environments}
    for number, proof in enumerate(proofs, start=1):
        values = _values(proof.winner, links) | {"superseded": None}
        there.add(WinnerRow(id=number, **values))
        there.flush()


def _insert(
    there: Session, rows: dict[str, Row], links: dict[str, dict[int, int]] | None = None
) -> dict[int, int]:
    """Add rows ordered by their uid or hash; returns the new number of each old one."""
    numbers = {}
    for number, (_, row) in enumerate(sorted(rows.items()), start=1):
        there.add(type(row)(id=number, **_values(row, links or {})))
        there.flush()
        (old,) = inspect(row).identity or ()
        numbers[old] = number
    return numbers


def _values(row: Base, links: dict[str, dict[int, int]]) -> dict[str, Any]:
    names = (attribute.key for attribute in inspect(type(row)).column_attrs)
    values = {name: getattr(row, name) for name in names if name != "id"}
    for name, numbers in links.items():
        if values[name] is not None:
            values[name] = numbers[values[name]]
    return values


def _compact(draft: Path, path: Path) -> None:
    """Write the canonical copy of a database; replace nothing."""
    make_folder_of(path.absolute())
    part = part_of(path.absolute())
    try:
        with results_errors(path):
            part.unlink(missing_ok=True)
            write_canonical(draft, part)
        place(part, path)
    finally:
        part.unlink(missing_ok=True)


def _none(database: Location, session: Session, left_out: list[str]) -> ResultsError:
    found = session.scalars(select(WinnerRow.target).where(WinnerRow.superseded.is_(None)))
    known = ", ".join(sorted({str(target) for target in found})) or "no target"
    what = f"; {left_out[0]}" if left_out else ""
    return ResultsError(
        f"{database} has no winner to write for these targets and problems{what}. It has winners "
        f"of {known}; `gdn tune` finds others."
    )
