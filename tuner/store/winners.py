"""The winners of a results database: the current one of a problem and target, and earlier ones."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any
from uuid import uuid4

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from gdn_ops.codegen.errors import ResultsError
from gdn_ops.tuner.store.database import Database
from gdn_ops.tuner.store.models import TrialRow, WinnerRow, utc_now
from gdn_ops.tuner.store.recorder import Recorder
from gdn_ops.tuner.store.records import NewWinner, StoredWinner
from gdn_ops.tuner.store.retry import patiently
from gdn_ops.tuner.store.rows import Warn
from gdn_ops.tuner.store.standing import WholeTrial, current_winners


class Winners(Recorder):
    """Sets and reads winners; see ``Store``."""

    def __init__(self, database: Database, *, warn: Warn = warnings.warn) -> None:
        super().__init__(database, warn=warn)
        self._rivals_after = 0  # winners with a larger number are its own or of another tuner
        self._own: set[int] = set()

    def _meet_rivals(self, session: Session) -> None:
        """From here on a new winner that is not this store's own is one of another tuner."""
        self._rivals_after = session.scalar(select(func.max(WinnerRow.id))) or 0

    def set_winner(self, winner: NewWinner) -> int:
        """Make a winner the current one of its problem and target; the old one is superseded.

        If another tuner has set one since this store started its run, the faster of both is current
        if they were measured in one environment; the other one is kept as superseded.

        Returns:
            The row of the winner that was given.

        Raises:
            ResultsError: its trial is not ok, or it is predicted and the current one is measured.
        """
        fields = asdict(winner) | {"variant": dict(winner.variant)}
        return self._set_winner(winner, fields | {"uid": uuid4().hex, "created": utc_now()})

    @patiently
    def _set_winner(self, winner: NewWinner, values: dict[str, Any]) -> int:
        with self.database.write() as session:
            stored = self._stored(session, WinnerRow, values)
            if stored is not None:
                return stored
            self._require_ok_trial(session, winner)
            current = winner_row(session, winner.problem_id, winner.target)
            superseded = None
            if current is not None:
                if winner.provenance == "predicted" and current.provenance == "measured":
                    raise ResultsError(
                        f"{winner.problem_id} on {winner.target} has the measured winner "
                        f"{current.variant_id}; the prediction {winner.variant_id} cannot replace "
                        "it; measure the variant first."
                    )
                if self._keeps(current, winner):
                    superseded = values["created"]
                else:
                    current.superseded = values["created"]
                    session.flush()
            number = self._insert(session, WinnerRow, values | {"superseded": superseded})
            self._own.add(number)
            return number

    def _keeps(self, current: WinnerRow, winner: NewWinner) -> bool:
        """Whether the current winner is of another tuner that runs now, and is not slower."""
        rival = current.id > self._rivals_after and current.id not in self._own
        same = current.environment_id == winner.environment_id is not None
        return rival and same and current.median <= winner.median

    @patiently
    def retire_winner(self, winner_id: int) -> None:
        """Supersede a winner that is no longer right, without a new one."""
        with self.database.write() as session:
            row = session.get(WinnerRow, winner_id)
            if row is None:
                raise self._no_row("winner", winner_id)
            row.superseded = row.superseded or utc_now()

    @patiently
    def winner(
        self, problem_id: str, target: str, *, trial_id: int | None = None
    ) -> StoredWinner | None:
        """The winner of a problem on a target; see ``winner_row``."""
        with self.database.read() as session:
            row = winner_row(session, problem_id, target, trial_id)
            return self._rows.one(row, StoredWinner.of)

    @patiently
    def winners(
        self, *, target: str | None = None, problem_id: str | None = None, history: bool = False
    ) -> list[StoredWinner]:
        """The current winners that match, newest last; with ``history`` also superseded ones."""
        query = select(WinnerRow).order_by(WinnerRow.created, WinnerRow.id)
        if target is not None:
            query = query.where(WinnerRow.target == target)
        if problem_id is not None:
            query = query.where(WinnerRow.problem_id == problem_id)
        if not history:
            query = query.where(WinnerRow.superseded.is_(None))
        with self.database.read() as session:
            return list(self._rows.read(session.scalars(query), StoredWinner.of))

    def current_winners(
        self, problem_ids: Sequence[str], *, target: str, environment_id: int
    ) -> Iterator[tuple[StoredWinner, list[WholeTrial]]]:
        """The current winners of many problems with the trials of their variants, the newest last.

        Only those that were measured in the environment.
        """
        return current_winners(
            self.database, self._rows, problem_ids, target=target, environment=environment_id
        )

    def _require_ok_trial(self, session: Session, winner: NewWinner) -> None:
        if winner.trial_id is None:
            return
        trial = session.get(TrialRow, winner.trial_id)
        if trial is None:
            raise self._no_row("trial", winner.trial_id)
        done = (trial.status, trial.problem_id, trial.target)
        if done != ("ok", winner.problem_id, winner.target):
            raise ResultsError(
                f"trial {trial.id} ({', '.join(done)}) cannot make {winner.variant_id} the winner "
                f"of {winner.problem_id} on {winner.target}; an ok trial of these is needed."
            )


def winner_row(
    session: Session, problem_id: str, target: str, trial_id: int | None = None
) -> WinnerRow | None:
    """The current winner of a problem on a target.

    With a trial, the newest winner that was measured by it, also if it is superseded.
    """
    query = select(WinnerRow).where(WinnerRow.problem_id == problem_id, WinnerRow.target == target)
    if trial_id is None:
        return session.scalar(query.where(WinnerRow.superseded.is_(None)))
    measured = query.where(WinnerRow.trial_id == trial_id)
    return session.scalar(measured.order_by(WinnerRow.id.desc()).limit(1))
