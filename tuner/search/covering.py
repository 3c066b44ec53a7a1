"""Covering: few variants for the many sizes of a problem, measured against each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from gdn_ops.codegen.errors import InvalidInput
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.variant import Variant
from gdn_ops.dispatch.doubt import is_doubtful
from gdn_ops.tuner.deadline import Deadline
from gdn_ops.tuner.report.progress import Note
from gdn_ops.tuner.search import finals
from gdn_ops.tuner.search.smallest_cover import best_of, smallest_cover
from gdn_ops.tuner.search.standing import readable
from gdn_ops.tuner.search.standing_winner import store_winner
from gdn_ops.tuner.search.trial_runner import TrialRunner, outcome_of
from gdn_ops.tuner.search.verdict_cache import FINALISTS_TIMED, VerdictCache
from gdn_ops.tuner.spaces.space import plan_key
from gdn_ops.tuner.store.records import StoredWinner
from gdn_ops.tuner.workers.harness import Effort, Measured

LABEL = "cover"
PER_PROBLEM = 2
"""Candidates from each problem: its winner and the one that came next in its finals."""
SHARE_OF_TIME = 0.25
"""Share of a run's time that is kept for covering."""


@dataclass(frozen=True)
class Covered:
    """What serves a problem: a variant, its seconds, and those of the fastest in the same run."""

    problem_id: str
    variant: str
    seconds: float
    best: float
    winner: StoredWinner


def cover(
    runners: Sequence[TrialRunner],
    winners: Mapping[str, StoredWinner],
    *,
    share: float,
    deadline: Deadline,
) -> list[Covered]:
    """Make the smallest set of variants the winners of problems that differ in sizes alone.

    The candidates of such problems are timed on each of them, in turn. A problem of its own keeps
    its winner, and so do all of a group for which the time does not suffice.

    Args:
        runners: one for each problem.
        winners: of the problems, by id; those without a winner, or with a provider, are left out.
        share: of the fastest variant's speed that a winner must reach, e.g. 0.95.
    """
    covered: list[Covered] = []
    groups = [group for group in _groups(runners, winners) if len(group) > 1]
    if runners and not groups:
        text = "no two problems with a winner differ in their sizes alone: each keeps its winner"
        runners[0].context.report(Note(text=f"{LABEL}: {text}"))
    for i, group in enumerate(groups):
        covered += _cover_group(group, winners, share, deadline.share(len(groups) - i))
    return covered


def _groups(
    runners: Iterable[TrialRunner], winners: Mapping[str, StoredWinner]
) -> list[list[TrialRunner]]:
    groups: dict[Problem, list[TrialRunner]] = {}
    for runner in runners:
        winner = winners.get(runner.problem.id())
        if winner is not None and winner.variant.get("plan") in PLANS:
            groups.setdefault(runner.problem.without_sizes(), []).append(runner)
    return list(groups.values())


def _cover_group(
    group: Sequence[TrialRunner],
    winners: Mapping[str, StoredWinner],
    share: float,
    deadline: Deadline,
) -> list[Covered]:
    context = group[0].context
    candidates = _candidates(group, winners)
    context.report(
        Note(
            text=f"{LABEL}: {len(candidates)} variants on {len(group)} sizes of "
            f"{group[0].problem.sizeless_id()}"
        )
    )
    # what a variant computes does not depend on the sizes, so one verdict holds for all
    verdicts = group[0].verdicts
    measured: dict[str, Measured] = {}
    for i, runner in enumerate(group):
        if deadline.passed:
            context.report(
                Note(text="  no time is left to compare these: each size keeps its winner")
            )
            return []
        found = _measured(runner, verdicts, candidates.values(), deadline.share(len(group) - i))
        if found.status != "ok":
            context.report(Note(text=f"  {runner.problem.id()}: {found.status}: {found.message}"))
            return []
        if is_doubtful(1.0, finals.spread(found)):
            text = "  the machine is too busy to compare variants: each size keeps its winner"
            context.report(Note(text=text))
            return []
        measured[runner.problem.id()] = found
    try:
        chosen = _chosen(verdicts, candidates, measured, share)
    except InvalidInput as error:
        context.report(Note(text=f"  {error}"))
        return []
    return [
        _stored(runner, verdicts, candidates, measured[runner.problem.id()], chosen)
        for runner in group
    ]


def _candidates(
    group: Sequence[TrialRunner], winners: Mapping[str, StoredWinner]
) -> dict[str, Variant]:
    found: dict[str, Variant] = {}
    for runner in group:
        ranked = [winners[runner.problem.id()].variant, *_finalists(runner)]
        read = (readable(data, runner.problem) for data in ranked)
        own = [variant for variant in read if variant is not None and not variant.provider]
        found |= {variant.id: variant for variant in list(dict.fromkeys(own))[:PER_PROBLEM]}
    return found


def _finalists(runner: TrialRunner) -> list[dict[str, object]]:
    """The variants of the finals, the fastest first."""
    timed = [
        (trial.outcome.median, trial.key)
        for trial in runner.trials
        if FINALISTS_TIMED in trial.outcome.resources and trial.outcome.median is not None
    ]
    return [key.variant for _, key in sorted(timed, key=lambda item: item[0])]


def _measured(
    runner: TrialRunner, verdicts: VerdictCache, candidates: Iterable[Variant], deadline: Deadline
) -> Measured:
    """The candidates that run a problem and are right, timed in turn."""
    target = runner.context.target
    able = [v for v in candidates if not v.reasons(runner.problem, target)]
    right = [v for v in able if verdicts.verdict(v).ok]
    seconds = min(finals.max_seconds(runner), max(finals.MIN_SECONDS, deadline.remaining))
    effort = Effort(rounds=finals.ROUNDS, seconds=seconds, reference=True, settle=True)
    return finals.measured_calmly(runner, right, effort, deadline)


def _chosen(
    verdicts: VerdictCache,
    candidates: Mapping[str, Variant],
    measured: Mapping[str, Measured],
    share: float,
) -> tuple[str, ...]:
    """The smallest set of which every variant gives the same bits as often as a winner must."""
    times = {
        name: {variant: timing.median for variant, timing in found.timings.items()}
        for name, found in measured.items()
    }
    while True:
        chosen = smallest_cover(times, share)
        unsteady = [name for name in chosen if not verdicts.winner_verdict(candidates[name]).ok]
        if not unsteady:
            return chosen
        times = {
            problem: {name: s for name, s in own.items() if name not in unsteady}
            for problem, own in times.items()
        }


def _stored(
    runner: TrialRunner,
    verdicts: VerdictCache,
    candidates: Mapping[str, Variant],
    measured: Measured,
    chosen: tuple[str, ...],
) -> Covered:
    """Record the trials of a problem and make the fastest of the chosen variants its winner."""
    times = {name: timing.median for name, timing in measured.timings.items()}
    winner_id = best_of(times, chosen)
    assert measured.reference is not None
    runner.reference = measured.reference.median
    ended = []
    for name in measured.timings:
        variant = candidates[name]
        verdict = verdicts.verdict(variant)
        verdict = replace(verdict, resources={**verdict.resources, FINALISTS_TIMED: len(times)})
        key = plan_key(runner.problem, runner.context.target, variant)
        ended.append(runner.ended(key, outcome_of(variant, verdict, measured), variant))
    trials = dict(zip(measured.timings, runner.record_all(ended, label=LABEL), strict=True))
    winner = store_winner(runner, candidates[winner_id], trials[winner_id], final=True)
    assert winner is not None
    return Covered(
        problem_id=runner.problem.id(),
        variant=str(candidates[winner_id]),
        seconds=times[winner_id],
        best=min(times.values()),
        winner=winner,
    )
