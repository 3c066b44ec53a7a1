"""The store of a results database: takes and returns records, one transaction per call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import select, update

from gdn_ops.codegen.errors import UnknownName
from gdn_ops.tuner.measure.fingerprint import Environment
from gdn_ops.tuner.store.merge import merge
from gdn_ops.tuner.store.merged import Merged
from gdn_ops.tuner.store.models import (
    RUN_STATUSES,
    EnvironmentRow,
    ProblemRow,
    RunRow,
    utc_now,
)
from gdn_ops.tuner.store.records import Run
from gdn_ops.tuner.store.retry import patiently
from gdn_ops.tuner.store.trials import Trials
from gdn_ops.tuner.store.winners import Winners


class Store(Trials, Winners):
    """Runs, trials and winners of one results database.

    When a method that writes returns, its rows are on the disk. Nothing that was stored is ever
    deleted. A malformed row counts as missing. Methods raise ResultsError as ``Database`` does;
    while a server is away they wait for it, see ``patiently``.

    Args:
        warn: is called with a sentence that names a malformed row, or a server that is away.
    """

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
            self._meet_rivals(session)
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

    def merge(self, other: Path | str) -> Merged:
        """Copy what another database has into this one, e.g. one tuned on another machine.

        Raises:
            InvalidInput: the other database cannot be read.
        """
        merged = merge(self.database, [Path(other)])
        with self.database.read() as session:
            self._meet_rivals(session)
        return merged
