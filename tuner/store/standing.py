"""The current winners of many problems with the trials of their variants, in few queries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import aliased

from gdn_ops.tuner.store.database import Database
from gdn_ops.tuner.store.models import TrialRow, WinnerRow
from gdn_ops.tuner.store.records import StoredWinner
from gdn_ops.tuner.store.rows import RowReader

AT_ONCE = 500
"""Problems of one query; SQLite allows some thousand values."""


@dataclass(frozen=True, kw_only=True)
class WholeTrial:
    """A trial of a whole variant of a problem, such as that which made a winner.

    ``sources`` and ``resources`` are as they are stored, perhaps no objects.
    """

    id: int
    variant_id: str | None
    status: str
    sources: Any
    resources: Any


def current_winners(
    database: Database,
    rows: RowReader,
    problem_ids: Sequence[str],
    *,
    target: str,
    environment: int,
) -> Iterator[tuple[StoredWinner, list[WholeTrial]]]:
    """Yield the current winners that were measured in an environment.

    Args:
        rows: reads the rows; a malformed winner is left out.

    Yields:
        A winner, and every trial of what its trial tried, the newest last.
    """
    timed, again = aliased(TrialRow), aliased(TrialRow)
    columns = (again.id, again.variant_id, again.status, again.sources, again.resources)
    query = (
        select(WinnerRow, *columns)
        .join(timed, timed.id == WinnerRow.trial_id)
        .join(
            again,
            (again.config_hash == timed.config_hash)
            & (again.environment_id == timed.environment_id),
        )
        .where(WinnerRow.target == target, WinnerRow.environment_id == environment)
        .where(WinnerRow.superseded.is_(None))
        .order_by(again.created, again.id)
    )
    for start in range(0, len(problem_ids), AT_ONCE):
        some = problem_ids[start : start + AT_ONCE]
        found: dict[int, tuple[StoredWinner | None, list[WholeTrial]]] = {}
        with database.read() as session:
            for row, *values in session.execute(query.where(WinnerRow.problem_id.in_(some))):
                if row.id not in found:
                    found[row.id] = (rows.one(row, StoredWinner.of), [])
                names = ("id", "variant_id", "status", "sources", "resources")
                found[row.id][1].append(WholeTrial(**dict(zip(names, values, strict=True))))
        for winner, repetitions in found.values():
            if winner is not None:
                yield winner, repetitions
