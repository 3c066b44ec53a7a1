"""The store of a results database: takes and returns records, one transaction per call."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from gdn_ops.codegen.errors import ResultsError, UnknownName
from gdn_ops.tuner.measure.fingerprint import Environment
from gdn_ops.tuner.store.database import Database
from gdn_ops.tuner.store.merge import Merged, merge
from gdn_ops.tuner.store.models import (
    RUN_STATUSES,
    EnvironmentRow,
    ProblemRow,
    RunRow,
    TrialRow,
    WinnerRow,
    utc_now,
)
from gdn_ops.tuner.store.records import NewWinner, Outcome, Run, StoredWinner, Trial, TrialKey
from gdn_ops.tuner.store.retry import patiently
from gdn_ops.tuner.store.rows import RowReader, Warn
from gdn_ops.tuner.store.standing import AT_ONCE, Repetition, current_winners

Numbered = TypeVar("Numbered", RunRow, TrialRow, WinnerRow)


class Store:
    """Runs, trials and winners of one results database.

    When a method that writes returns, its rows are on the disk. Nothing that was stored is ever
    deleted. A malformed row counts as missing. Methods raise ResultsError as ``Database`` does;
    while a server is away they wait for it, see ``patiently``.

    Args:
        warn: is called with a sentence that names a malformed row, or a server that is away.
    """

    def __init__(self, database: Database, *, warn: Warn = warnings.warn) -> None:
        self.database = database
        self.warn = warn
        self._rows = RowReader(warn)
        self._rivals_after = 0
        self._own: set[int] = set()

    @patiently
    def add_environment(self, environment: Environment) -> int:
        """The row of an environment; it is added if it is new."""
        with self.database.write() as session:
            known = select(EnvironmentRow.id).where(EnvironmentRow.hash == environment.hash)
            found = session.scalar(known)
            if found is not None:
                return found
            row = EnvironmentRow(hash=environment.hash, **asdict(environment))
            session.add(row)
            session.flush()
            return row.id

    @patiently
    def environment(self, environment_id: int) -> Environment:
        """The environment of a row."""
        with self.database.read() as session:
            row = session.get(EnvironmentRow, environment_id)
            if row is None:
                raise self._no_row("environment", environment_id)
            return Environment(**{key: getattr(row, key) for key in Environment.__annotations__})

    @patiently
    def add_problem(self, problem_id: str, facts: Mapping[str, Any]) -> None:
        """Add a problem bucket, or replace its facts by these."""
        with self.database.write() as session:
            session.merge(ProblemRow(id=problem_id, facts=dict(facts)))

    @patiently
    def problems(self) -> dict[str, Mapping[str, Any]]:
        """The facts of every known problem bucket, by its id."""
        with self.database.read() as session:
            rows = session.scalars(select(ProblemRow))
            return dict(self._rows.read(rows, lambda row: (row.id, row.facts)))

    def start_run(
        self, workload: str, target: str, *, seed: int, options: Mapping[str, Any]
    ) -> int:
        """Add a run; earlier runs of its workload and target that never ended are interrupted."""
        now = utc_now()
        return self._start_run({
            "uid": uuid4().hex, "workload": workload, "target": target, "seed": seed,
            "options": dict(options), "status": "running", "started": now, "finished": None,
        })  # fmt: skip

    @patiently
    def _start_run(self, values: dict[str, Any]) -> int:
        with self.database.write() as session:
            self._rivals_after = _last_winner(session)
            session.execute(
                update(RunRow)
                .where(RunRow.workload == values["workload"], RunRow.target == values["target"])
                .where(RunRow.status == "running", RunRow.uid != values["uid"])
                .values(status="interrupted", finished=values["started"])
            )
            return self._insert(session, RunRow, values)

    @patiently
    def finish_run(self, run_id: int, status: str = "finished") -> None:
        """End a run as ``finished`` or ``interrupted``."""
        if status not in RUN_STATUSES:
            raise UnknownName.of("run status", status, RUN_STATUSES)
        with self.database.write() as session:
            row = session.get(RunRow, run_id)
            if row is None:
                raise self._no_row("run", run_id)
            row.status, row.finished = status, utc_now()

    @patiently
    def runs(self) -> list[Run]:
        """Every run, the newest last."""
        with self.database.read() as session:
            rows = session.scalars(select(RunRow).order_by(RunRow.id))
            return list(self._rows.read(rows, Run.of))

    def record_trial(
        self,
        key: TrialKey,
        outcome: Outcome,
        *,
        run_id: int,
        environment_id: int,
        variant_id: str | None = None,
        sources: Mapping[str, str] | None = None,
    ) -> int:
        """Add a trial, whatever its outcome; earlier trials of the same thing stay.

        Args:
            sources: hash of each stage's source; a trial without them is never found again by
                ``known_trial``.
        """
        return self._add_trial({
            "uid": uuid4().hex, "run_id": run_id, "environment_id": environment_id,
            "target": key.target, "arch": key.arch, "problem_id": key.problem_id,
            "scope": key.scope, "plan": key.plan, "stage": key.stage,
            "interface": dict(key.interface), "config": dict(key.config),
            "config_hash": key.config_hash, "variant_id": variant_id,
            "sources": None if sources is None else dict(sources), "status": outcome.status,
            "median": outcome.median, "low": outcome.low, "high": outcome.high,
            "samples": list(outcome.samples), "method": outcome.method,
            "errors": dict(outcome.errors), "resources": dict(outcome.resources),
            "message": outcome.message.replace("\0", "\N{REPLACEMENT CHARACTER}"),
            "created": utc_now(),
        })  # fmt: skip

    @patiently
    def _add_trial(self, values: dict[str, Any]) -> int:
        with self.database.write(alone=False) as session:
            return self._insert(session, TrialRow, values)

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
        """The fastest trial of a plan, or of one stage of it, that is ok; whatever its source."""
        query = (
            select(TrialRow)
            .where(TrialRow.target == target)
            .where(TrialRow.problem_id == problem_id)
            .where(TrialRow.status == "ok")
            .where(TrialRow.plan == plan)
            .where(TrialRow.scope == ("plan" if stage is None else "stage"))
            .where(TrialRow.stage == stage)
            .order_by(TrialRow.median, TrialRow.id)
        )
        with self.database.read() as session:
            rows = session.scalars(query.execution_options(yield_per=1))
            return next(self._rows.read(rows, Trial.of), None)

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
            current = _current(session, winner.problem_id, winner.target)
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
    def winner(self, problem_id: str, target: str) -> StoredWinner | None:
        """The current winner of a problem on a target."""
        with self.database.read() as session:
            return self._rows.one(_current(session, problem_id, target), StoredWinner.of)

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
    ) -> Iterator[tuple[StoredWinner, list[Repetition]]]:
        """The current winners of many problems with the trials of their variants, the newest last.

        Only those that were measured in the environment.
        """
        return current_winners(
            self.database, self._rows, problem_ids, target=target, environment=environment_id
        )

    def merge(self, other: Path | str) -> Merged:
        """Copy what another database has into this one, e.g. one tuned on another machine.

        Raises:
            InvalidInput: the other database cannot be read.
        """
        merged = merge(self.database, [Path(other)])
        with self.database.read() as session:
            self._rivals_after = _last_winner(session)
        return merged

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

    def _no_row(self, kind: str, row: int) -> ResultsError:
        return ResultsError(
            f"{self.database.location} has no {kind} {row}; every database numbers its rows anew, "
            "`gdn show` lists them."
        )


def _current(session: Session, problem_id: str, target: str) -> WinnerRow | None:
    return session.scalar(
        select(WinnerRow)
        .where(WinnerRow.problem_id == problem_id, WinnerRow.target == target)
        .where(WinnerRow.superseded.is_(None))
    )


def _last_winner(session: Session) -> int:
    return session.scalar(select(func.max(WinnerRow.id))) or 0
