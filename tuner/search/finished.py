"""Which problems are finished, found out for all problems of a campaign before any is tuned."""

from __future__ import annotations

from collections.abc import Sequence

from gdn_ops.codegen.problem import Problem
from gdn_ops.tuner.search.standing import needs_no_tuning, stands
from gdn_ops.tuner.search.trial_runner import Context
from gdn_ops.tuner.store.records import StoredWinner


def finished_winners(context: Context, problems: Sequence[Problem]) -> dict[str, StoredWinner]:
    """The standing winner of each problem that ``is_finished``, by the problem's id.

    The trials of other variants are not read.
    """
    by_id = {problem.id(): problem for problem in problems}
    current = context.store.current_winners(
        list(by_id), target=context.target.name, environment_id=context.environment
    )
    return {
        winner.problem_id: winner
        for winner, repetitions in current
        for problem in [by_id[winner.problem_id]]
        if needs_no_tuning(winner, repetitions, problem) and stands(winner, repetitions, problem)
    }
