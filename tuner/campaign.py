"""Campaign: tunes the problems of a workload one after another, within a shared time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gdn_ops.codegen.errors import UnsupportedProblem
from gdn_ops.codegen.problem import Problem
from gdn_ops.dispatch.winner import Winner
from gdn_ops.tuner.deadline import NO_DEADLINE, Deadline
from gdn_ops.tuner.interruption import Interrupted, Interruption
from gdn_ops.tuner.report.progress import Note, ProblemEnded, ProblemStarted
from gdn_ops.tuner.search.covering import SHARE_OF_TIME, Covered, cover
from gdn_ops.tuner.search.finished import finished_winners
from gdn_ops.tuner.search.problem_tuning import compare_finished, tune_problem
from gdn_ops.tuner.search.providers import Compared, compared, is_compared
from gdn_ops.tuner.search.retiming import retime
from gdn_ops.tuner.search.space_search import Options
from gdn_ops.tuner.search.standing_winner import winner_without_finals
from gdn_ops.tuner.search.trial_runner import Context, TrialRunner
from gdn_ops.tuner.store.records import StoredWinner


@dataclass
class Result:
    """How a campaign ended: the winner of each problem by id, or why it has none."""

    problems: dict[str, Problem] = field(default_factory=dict)
    winners: dict[str, StoredWinner] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    interrupted: bool = False
    covered: list[Covered] = field(default_factory=list)
    compared: list[Compared] = field(default_factory=list)

    def add(self, problem_id: str, winner: StoredWinner | None, why: str) -> None:
        if winner is None:
            self.failures[problem_id] = why
        else:
            self.winners[problem_id] = winner


def run_campaign(
    problems: Sequence[Problem],
    context: Context,
    *,
    options: Options,
    interruption: Interruption,
    minutes: float | None,
    shares: Mapping[str, float] | None = None,
    stale: Mapping[str, Winner] | None = None,
) -> Result:
    """Tune problems, each within its share of the remaining time.

    An interruption ends the campaign: the best trial so far becomes the winner of the current
    problem. All recorded trials stay, and the next run continues from them.

    Args:
        problems: buckets, as ``Problem.bucket`` gives them.
        minutes: for all problems together; None for no limit.
        shares: the share of each problem by its id; None: all have the same. The time of a problem
            that is finished already goes to the others.
        stale: winners whose top variants are timed again, by the ids of their problems.
    """
    whole = NO_DEADLINE if minutes is None else Deadline.after(60 * minutes)
    context.harness.end_by(whole)
    deadline = whole if options.cover is None else whole.portion(1 - SHARE_OF_TIME)
    result = Result({problem.id(): problem for problem in problems})
    finished = {} if options.again else finished_winners(context, problems, options.plans)
    weights = [1.0 if shares is None else shares[problem.id()] for problem in problems]
    for number, problem in enumerate(problems, start=1):
        winner = finished.get(problem.id())
        if winner is not None and not context.providers.versions:
            skip_finished(context, winner, result)
            continue
        runner = TrialRunner(context, problem)
        if winner is not None and is_compared(runner, winner):
            skip_finished(context, winner, result)
            result.compared += compared(runner, winner)
            continue
        until = deadline.portion(weights[number - 1] / sum(weights[number - 1 :]))
        context.report(
            ProblemStarted(
                problem_id=problem.id(),
                number=number,
                total=len(problems),
                deadline=until,
                whole=deadline,
            )
        )
        try:
            interruption.check()
            before = None if stale is None else stale.get(problem.id())
            if winner is None:
                tune_one(runner, result, before, options=options, deadline=until)
            else:
                again = compare_finished(runner, winner, options=options, deadline=until)
                result.add(problem.id(), again or winner, "")
        except Interrupted:
            settle(runner, result)
        result.compared += compared(runner, result.winners.get(problem.id()))
        if result.interrupted:
            break
    if options.cover is not None and not result.interrupted:
        cover_problems(problems, context, result, share=options.cover, deadline=whole)
    context.store.finish_run(context.run, "interrupted" if result.interrupted else "finished")
    return result


def tune_one(
    runner: TrialRunner,
    result: Result,
    stale: Winner | None,
    *,
    options: Options,
    deadline: Deadline,
) -> None:
    """Tune the problem of a runner; add its winner to the result, or why it has none.

    Args:
        stale: a winner whose top variants are timed again, instead of a search.
    """
    problem_id = runner.problem.id()
    why = (
        "no variant is correct and timed; the stored trials say why. --minutes gives them more time"
    )
    try:
        winner = (
            tune_problem(runner, options=options, deadline=deadline)
            if stale is None
            else retime(runner, stale, options=options, deadline=deadline)
        )
    except UnsupportedProblem as error:
        winner, why = None, str(error)
    result.add(problem_id, winner, why)
    if winner is None:
        runner.context.report(ProblemEnded(problem_id=problem_id, outcome=why, ok=False))


def cover_problems(
    problems: Sequence[Problem],
    context: Context,
    result: Result,
    *,
    share: float,
    deadline: Deadline,
) -> None:
    """Give few variants to many sizes; an interruption leaves each problem its winner."""
    runners = [TrialRunner(context, problem) for problem in problems]
    try:
        result.covered = cover(runners, result.winners, share=share, deadline=deadline)
    except Interrupted:
        result.interrupted = True
    result.winners |= {each.problem_id: each.winner for each in result.covered}


def skip_finished(context: Context, winner: StoredWinner, result: Result) -> None:
    """Add the winner of a problem that is finished to the result."""
    problem_id = winner.problem_id
    result.add(problem_id, winner, "")
    text = f"{problem_id}: tuned already, --again tunes it further"
    context.report(ProblemEnded(problem_id=problem_id, outcome=text, ok=True))


def settle(runner: TrialRunner, result: Result) -> None:
    """Add what a problem has after an interruption to the result."""
    result.interrupted = True
    runner.context.report(Note(text="interrupted: the best trial so far is kept"))
    winner = winner_without_finals(runner)
    result.add(runner.problem.id(), winner, "interrupted before any variant was measured")
