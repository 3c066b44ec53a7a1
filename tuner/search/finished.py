"""Which problems are finished, found out for all problems of a campaign before any is tuned."""

from __future__ import annotations

from collections.abc import Sequence

from gdn_ops.codegen.problem import Problem
from gdn_ops.tuner.search.standing import needs_no_tuning, stands
from gdn_ops.tuner.search.trial_runner import Context
from gdn_ops.tuner.spaces.space import plans_for
from gdn_ops.tuner.store.records import StoredWinner


def finished_winners(
    context: Context, problems: Sequence[Problem], plans: Sequence[str] = ()
) -> dict[str, StoredWinner]:
    """The standing winner of each problem that ``is_finished``, by the problem's id.

    The trials of other variants are not read.

    Args:
        plans: those that the run is asked for; a problem that none of them can run is left out, so
            that it is refused as it is without a winner.
    """
    target = context.target
    able = [each for each in problems if not plans or plans_for(each, target, plans)]
    by_id = {problem.id(): problem for problem in able}
    current = context.store.current_winners(
        list(by_id), target=context.target.name, environment_id=context.environment
    )
    return {
        winner.problem_id: winner
        for winner, repetitions in current
        for problem in [by_id[winner.problem_id]]
        if needs_no_tuning(winner, repetitions, problem) and stands(winner, repetitions, problem)
    }
