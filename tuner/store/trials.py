"""The trials of a results database: recording them, several at once, and finding them again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from gdn_ops.tuner.store.models import ProblemRow, RunRow, TrialRow
from gdn_ops.tuner.store.new_trial import NewTrial
from gdn_ops.tuner.store.recorder import Recorder
from gdn_ops.tuner.store.records import UNRANKED_METHODS, Trial, TrialKey
from gdn_ops.tuner.store.retry import patiently
from gdn_ops.tuner.store.standing import AT_ONCE


class Trials(Recorder):
    """Records trials and finds them again; see ``Store``."""

    def record_trials(self, trials: Sequence[NewTrial]) -> list[Trial]:
        """Add trials in one transaction; earlier trials of the same thing stay."""
        if not trials:
            return []
        numbers = self._add_trials([trial.values() for trial in trials])
        return [trial.stored(numbers[trial.uid]) for trial in trials]

    @patiently
    def _add_trials(self, rows: Sequence[dict[str, Any]]) -> dict[str, int]:
        """Add rows and return their numbers by uid."""
        with self.database.write(alone=False) as session:
            stored = self._numbers(session, rows) if self.database.patience else {}
            if not stored:
                session.execute(insert(TrialRow), rows)
                stored = self._numbers(session, rows)
            return stored

    def _numbers(self, session: Session, rows: Sequence[dict[str, Any]]) -> dict[str, int]:
        """The numbers by uid of those rows that are stored."""
        found: dict[str, int] = {}
        for start in range(0, len(rows), AT_ONCE):
            uids = [row["uid"] for row in rows[start : start + AT_ONCE]]
            query = select(TrialRow.uid, TrialRow.id).where(TrialRow.uid.in_(uids))
            found |= {row.uid: row.id for row in session.execute(query)}
        return found

    @patiently
    def known_trial(
        self,
        key: TrialKey,
        environment_id: int,
        *,
        variant_id: str | None = None,
        sources: Mapping[str, str] | None,
    ) -> Trial | None:
        """The latest trial in an environment whose outcome still applies.

        So a config that hung or crashed here is never run again. ``Trial.applies_to`` describes the
        arguments.

        Returns:
            None if there is no such trial.
        """
        latest = (
            select(TrialRow)
            .where(TrialRow.config_hash == key.config_hash)
            .where(TrialRow.environment_id == environment_id)
            .order_by(TrialRow.created.desc(), TrialRow.id.desc())
        )
        with self.database.read() as session:
            trials = self._rows.read(session.scalars(latest), Trial.of)
            return next((t for t in trials if t.applies_to(variant_id, sources)), None)

    @patiently
    def trial(self, trial_id: int) -> Trial:
        """The trial of a row."""
        with self.database.read() as session:
            trial = self._rows.one(session.get(TrialRow, trial_id), Trial.of)
            if trial is None:
                raise self._no_row("trial", trial_id)
            return trial

    @patiently
    def trials(
        self,
        *,
        target: str | None = None,
        problem_id: str | None = None,
        status: str | None = None,
        scope: str | None = None,
        environment_id: int | None = None,
    ) -> list[Trial]:
        """Every trial that matches, the newest last."""
        wanted = {
            TrialRow.target: target, TrialRow.problem_id: problem_id, TrialRow.status: status,
            TrialRow.environment_id: environment_id, TrialRow.scope: scope,
        }  # fmt: skip
        query = select(TrialRow).order_by(TrialRow.created, TrialRow.id)
        for column, value in wanted.items():
            if value is not None:
                query = query.where(column == value)
        with self.database.read() as session:
            return list(self._rows.read(session.scalars(query), Trial.of))

    def trials_of_variants(
        self,
        problem_ids: Sequence[str],
        *,
        target: str,
        environment_id: int,
        statuses: Sequence[str],
    ) -> dict[str, list[int]]:
        """The rows of the trials with some statuses, by variant, in the order they were made."""
        found: dict[str, list[int]] = {}
        query = (
            select(TrialRow.variant_id, TrialRow.id)
            .where(TrialRow.target == target, TrialRow.environment_id == environment_id)
            .where(TrialRow.status.in_(statuses), TrialRow.variant_id.is_not(None))
            .order_by(TrialRow.created, TrialRow.id)
        )
        with self.database.read() as session:
            for start in range(0, len(problem_ids), AT_ONCE):
                some = problem_ids[start : start + AT_ONCE]
                for variant, row in session.execute(query.where(TrialRow.problem_id.in_(some))):
                    found.setdefault(str(variant), []).append(row)
        return found

    @patiently
    def tried(self) -> list[tuple[str, str]]:
        """Targets and problems that have trials."""
        targets = select(RunRow.target).distinct().subquery()
        any_trial = (
            select(TrialRow.id)
            .where(TrialRow.target == targets.c.target)
            .where(TrialRow.problem_id == ProblemRow.id)
            .exists()
        )
        query = select(targets.c.target, ProblemRow.id).join(ProblemRow, any_trial)
        with self.database.read() as session:
            return [(target, problem_id) for target, problem_id in session.execute(query)]

    @patiently
    def fastest_trial(
        self, target: str, problem_id: str, *, plan: str, stage: str | None
    ) -> Trial | None:
        """The fastest trial of a plan, or of one stage of it, that is ok; whatever its source.

        Trials whose times are not ranked are left out: they do not compare with those that are.
        """
        query = (
            select(TrialRow)
            .where(TrialRow.target == target)
            .where(TrialRow.problem_id == problem_id)
            .where(TrialRow.status == "ok")
            .where(TrialRow.plan == plan)
            .where(TrialRow.scope == ("plan" if stage is None else "stage"))
            .where(TrialRow.stage == stage)
            .where(TrialRow.method.is_(None) | TrialRow.method.not_in(UNRANKED_METHODS))
            .order_by(TrialRow.median, TrialRow.id)
        )
        with self.database.read() as session:
            rows = session.scalars(query.execution_options(yield_per=1))
            return next(self._rows.read(rows, Trial.of), None)
