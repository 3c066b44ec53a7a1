"""What the trials of results databases say: one search per problem, environment, plan and stage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from gdn_ops.codegen.axis import Value
from gdn_ops.codegen.errors import GdnError
from gdn_ops.dispatch.winner import Winner
from gdn_ops.results_url import Location
from gdn_ops.tuner.measure.fingerprint import Environment
from gdn_ops.tuner.store.db import open_database
from gdn_ops.tuner.store.records import Trial
from gdn_ops.tuner.store.store import Store
from gdn_ops.tuner.store.winner_tables import exists, read_winners


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One trial of a search.

    Args:
        parameters: the values of the interface axes and of the stage's own axes.
        seconds: by which it is ranked; None if it failed or has no rank.
        low, high: the bounds of its 95 % interval in seconds.
        status: as the database has it.
    """

    trial_id: int
    variant_id: str | None
    parameters: Mapping[str, Value]
    seconds: float | None
    low: float | None
    high: float | None
    status: str
    message: str
    method: str | None
    created: datetime


@dataclass(frozen=True, kw_only=True)
class Search:
    """The trials of one stage of a plan, in the order in which they were made.

    Times compare within one environment only, so each environment has a search of its own.

    Args:
        stage: None for the whole variants of a plan with several stages, whose parameters are the
            interface axes only.
        whole: whether whole variants were timed, not a stage alone.
    """

    problem_id: str
    target: str
    arch: str
    environment: Environment
    plan: str
    stage: str | None
    whole: bool
    attempts: tuple[Attempt, ...]

    @property
    def name(self) -> str:
        """The plan and the stage."""
        return self.plan if self.stage in (None, self.plan) else f"{self.plan}: {self.stage}"

    @property
    def best(self) -> Attempt | None:
        """The fastest attempt; None if none has a rank."""
        timed = [attempt for attempt in self.attempts if attempt.seconds is not None]
        return min(timed, key=lambda attempt: attempt.seconds or 0.0, default=None)

    @property
    def failed(self) -> int:
        return sum(attempt.status != "ok" for attempt in self.attempts)


@dataclass(frozen=True, kw_only=True)
class Stored:
    """What the databases have of the wanted problems.

    Args:
        databases: the files that were read.
        facts: the facts of each problem by its id.
        searches: ordered by problem, target, environment, plan and stage.
        winners: the current ones, of each problem and target that of the first database.
        left_out: a sentence for each row that could not be used.
    """

    databases: tuple[Location, ...]
    facts: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    searches: tuple[Search, ...] = ()
    winners: tuple[Winner, ...] = ()
    left_out: tuple[str, ...] = ()


_Key = tuple[str, str, str, str, str]


def stored(
    databases: Sequence[Location],
    *,
    problems: AbstractSet[str] | None = None,
    target: str | None = None,
) -> Stored:
    """Read searches and winners; a trial that two databases have is taken once.

    Args:
        databases: a file that does not exist is skipped.
        problems: ids of the wanted problems; None for all.
        target: the name of the wanted target; None for all.

    Raises:
        ResultsError: a file is not a results database, or of another version.
    """
    facts: dict[str, Mapping[str, object]] = {}
    groups: dict[_Key, dict[object, tuple[Trial, Environment]]] = {}
    winners: dict[tuple[str, str], Winner] = {}
    left_out: list[str] = []
    read = tuple(path for path in databases if exists(path))
    for path in read:
        name = path.name if isinstance(path, Path) else str(path)
        table = read_winners(path)
        left_out += [f"{name}: {row.problem_id}: {row.reason}" for row in table.skipped]
        for winner in table.winners:
            if _wanted(winner.problem_id, winner.target, problems, target):
                winners.setdefault((winner.problem_id, winner.target), winner)
        with open_database(path, create=False, writable=False) as database:
            notes: list[str] = []
            store = Store(database, warn=notes.append)
            facts |= store.problems()
            for trial, environment in _trials(store, target):
                key = trial.key
                if not _wanted(key.problem_id, key.target, problems, target):
                    continue
                group = groups.setdefault(_key(trial, environment), {})
                same = (trial.created, key.config_hash, trial.outcome.samples)
                group.setdefault(same, (trial, environment))
            left_out += [f"{name}: {note}" for note in notes]
    return Stored(
        databases=read,
        facts=facts,
        searches=tuple(_search(list(groups[key].values())) for key in sorted(groups)),
        winners=tuple(winners[key] for key in sorted(winners)),
        left_out=tuple(dict.fromkeys(left_out)),
    )


def _wanted(
    problem_id: str, target: str, problems: AbstractSet[str] | None, wanted_target: str | None
) -> bool:
    return (problems is None or problem_id in problems) and wanted_target in (None, target)


def _trials(store: Store, target: str | None) -> Iterator[tuple[Trial, Environment]]:
    environments: dict[int, Environment] = {}
    for trial in store.trials(target=target):
        number = trial.environment_id
        if number not in environments:
            try:
                environments[number] = store.environment(number)
            except GdnError:  # a row that points to no environment
                continue
        yield trial, environments[number]


def _stage(trial: Trial) -> str | None:
    """The stage whose axes a trial varies."""
    key = trial.key
    if key.stage is not None:
        return key.stage
    return next(iter(key.config)) if len(key.config) == 1 else None


def _key(trial: Trial, environment: Environment) -> _Key:
    key = trial.key
    return key.problem_id, key.target, environment.hash, key.plan, _stage(trial) or ""


def _search(group: list[tuple[Trial, Environment]]) -> Search:
    group = sorted(group, key=lambda pair: (pair[0].created, pair[0].id))
    first, environment = group[0]
    stage = _stage(first)
    return Search(
        problem_id=first.key.problem_id, target=first.key.target, arch=first.key.arch,
        environment=environment, plan=first.key.plan, stage=stage,
        whole=first.key.stage is None,
        attempts=tuple(_attempt(trial, stage) for trial, _ in group),
    )  # fmt: skip


def _attempt(trial: Trial, stage: str | None) -> Attempt:
    key, outcome = trial.key, trial.outcome
    own: Mapping[str, Value] = {}
    if stage is not None:
        own = key.config if key.stage is not None else key.config[stage]
    return Attempt(
        trial_id=trial.id, variant_id=trial.variant_id, parameters={**key.interface, **own},
        seconds=outcome.ranked_seconds, low=outcome.low, high=outcome.high,
        status=outcome.status, message=outcome.message, method=outcome.method,
        created=trial.created,
    )  # fmt: skip
