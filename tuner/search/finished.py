"""Which problems are finished, found out for all problems of a campaign before any is tuned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gdn_ops.codegen.problem import Problem
from gdn_ops.dispatch.libraries import missing_library
from gdn_ops.dispatch.winners import is_doubtful
from gdn_ops.tuner.search.standing_winner import readable
from gdn_ops.tuner.search.trial_runner import Context
from gdn_ops.tuner.search.verdict_cache import FINALISTS_TIMED, proven_repeatable
from gdn_ops.tuner.spaces.sources import sources_of
from gdn_ops.tuner.store.models import FAULT
from gdn_ops.tuner.store.records import StoredWinner
from gdn_ops.tuner.store.standing import Repetition


def finished_winners(context: Context, problems: Sequence[Problem]) -> dict[str, StoredWinner]:
    """The standing winner of each problem that ``is_finished``, by the problem's id.

    It says the same as ``is_finished`` without reading every trial of every problem.
    """
    by_id = {problem.id(): problem for problem in problems}
    current = context.store.current_winners(
        list(by_id), target=context.target.name, environment_id=context.environment
    )
    return {
        winner.problem_id: winner
        for winner, repetitions in current
        if _is_finished(winner, repetitions, by_id[winner.problem_id])
    }


def _is_finished(winner: StoredWinner, repetitions: Sequence[Repetition], problem: Problem) -> bool:
    timed = next((t for t in repetitions if t.id == winner.trial_id), None)
    resources = (
        timed.resources if timed is not None and isinstance(timed.resources, Mapping) else {}
    )
    if FINALISTS_TIMED not in resources or not proven_repeatable(resources):
        return False
    variant = readable(winner.variant, problem)
    if is_doubtful(winner.low, winner.high) or variant is None:
        return False
    if variant.library and missing_library(problem, variant):
        return False  # without its library the problem has no winner here
    sources = sources_of(problem, variant)
    same = [
        trial.status for trial in repetitions
        if (trial.variant_id, trial.sources) == (variant.id, sources) and trial.status != FAULT
    ]  # fmt: skip
    return sources is not None and bool(same) and same[-1] == "ok"
