"""Statistics of a tuning run: trials and seconds per problem, and when the winner was found.

``python -m bench.campaign.tuning DATABASE WORKLOAD`` checks that the finals of every problem ran.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import UNFINISHED
from gdn_ops.tuner.report import console
from gdn_ops.tuner.search.verdict_cache import FINALISTS_TIMED
from gdn_ops.tuner.spaces.workloads import workload_named
from gdn_ops.tuner.store.db import open_database
from gdn_ops.tuner.store.records import StoredWinner, Trial
from gdn_ops.tuner.store.store import Store

NEAR = 1.03
"""A stage counts as found when the time of a config is within this factor of its best time."""


@dataclass(frozen=True, kw_only=True)
class TunedProblem:
    """The tuning of one problem.

    Args:
        problem_id: the problem.
        winner: its winner.
        trials: the number of trials.
        right: the number of trials that passed the checks and were timed.
        seconds: from the first trial to the last.
        final: whether the winner comes from the finals; else the search ran out of time.
        found: trials and seconds until every stage of the winner's plan had a config within
            ``NEAR`` of its best; None if unknown.
    """

    problem_id: str
    winner: StoredWinner
    trials: int
    right: int
    seconds: float
    final: bool
    found: tuple[int, float] | None


def tuned_problems(path: Path) -> Iterator[TunedProblem]:
    """Yield the problems of a database with measured winners, in the order of their tuning."""
    with open_database(path, create=False, writable=False) as database:
        store = Store(database, warn=console.remark)
        winners = [w for w in store.winners() if w.provenance == "measured"]
        rows = []
        for winner in winners:
            trials = store.trials(target=winner.target, problem_id=winner.problem_id)
            trials = sorted(trials, key=lambda trial: trial.created)
            if trials:
                rows.append((winner, trials))
    for winner, trials in sorted(rows, key=lambda row: row[1][0].created):
        yield TunedProblem(
            problem_id=winner.problem_id,
            winner=winner,
            trials=len(trials),
            right=sum(trial.outcome.status == "ok" for trial in trials),
            seconds=(trials[-1].created - trials[0].created).total_seconds(),
            final=any(
                t.id == winner.trial_id and FINALISTS_TIMED in t.outcome.resources for t in trials
            ),
            found=_found(winner, trials),
        )


def _found(winner: StoredWinner, trials: Sequence[Trial]) -> tuple[int, float] | None:
    stages = winner.variant["stages"]
    of_plan = [trial for trial in trials if trial.key.plan == winner.variant["plan"]]
    if len(stages) == 1:
        scopes: Iterable[list[Trial]] = [[t for t in of_plan if t.key.scope == "plan"]]
    else:
        interface = winner.variant["interface"].items()
        scopes = (
            [t for t in of_plan if t.key.stage == stage and t.key.interface.items() <= interface]
            for stage in stages
        )
    places = [_first_near(scope) for scope in scopes]
    if not places or None in places:
        return None
    last = max((trial for trial in places if trial is not None), key=lambda t: t.created)
    return trials.index(last) + 1, (last.created - trials[0].created).total_seconds()


def _first_near(trials: Sequence[Trial]) -> Trial | None:
    """The first trial within ``NEAR`` of the best of them."""
    timed = [(t.outcome.median, t) for t in trials if t.outcome.median is not None]
    best = min((seconds for seconds, _ in timed), default=0.0)
    return next((trial for seconds, trial in timed if seconds <= NEAR * best), None)


def main() -> None:
    database, workload = Path(sys.argv[1]), sys.argv[2]
    final = {p.problem_id for p in tuned_problems(database) if p.final}
    unfinished = [p.id() for p in workload_named(workload).problems if p.id() not in final]
    for problem_id in unfinished:
        console.say(f"the finals of {problem_id} have not run yet")
    raise SystemExit(UNFINISHED if unfinished else 0)


if __name__ == "__main__":
    main()
