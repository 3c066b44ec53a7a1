"""Retiming of a stale winner: its top variants are timed once more, searched only if need be."""

from __future__ import annotations

from collections.abc import Iterable

from gdn_ops.codegen.variant import Variant
from gdn_ops.dispatch.winner import Winner
from gdn_ops.dispatch.winner_proofs import read_proofs
from gdn_ops.dispatch.winner_table import WinnerTable
from gdn_ops.tuner.deadline import Deadline
from gdn_ops.tuner.measure.statistics import tied
from gdn_ops.tuner.report.progress import Note
from gdn_ops.tuner.search.finals import hold_finals
from gdn_ops.tuner.search.problem_tuning import tune_problem
from gdn_ops.tuner.search.space_search import Options
from gdn_ops.tuner.search.standing import readable
from gdn_ops.tuner.search.trial_runner import TrialRunner
from gdn_ops.tuner.store.records import StoredWinner, Trial

TOP = 3
"""Variants that are timed again: the winner and those that came next."""


def stale_winners(table: WinnerTable, target: str, driver: str | None) -> dict[str, Winner]:
    """The measured winners of a target that are stale, by the ids of their problems.

    Of two databases that have a problem the first counts, as in dispatch.

    Args:
        driver: the version of the driver here; None if there is none.
    """
    found: dict[str, Winner] = {}
    for winner in table.winners:
        if winner.target == target and winner.provenance == "measured":
            found.setdefault(winner.problem_id, winner)
    read_proofs(found.values())
    return {name: winner for name, winner in found.items() if why_stale(winner, driver)}


def why_stale(winner: Winner, driver: str | None) -> str:
    """Why a winner of a device of this machine is stale; empty if it is not."""
    reasons = [winner.stale] if winner.stale else []
    known = winner.provenance == "measured" and None not in (winner.driver, driver)
    if known and winner.driver != driver:
        reasons.append(f"it was measured with driver {winner.driver}, and {driver} is loaded")
    return "; ".join(reasons)


def retime(
    runner: TrialRunner, winner: Winner, *, options: Options, deadline: Deadline
) -> StoredWinner | None:
    """Time a stale winner and the variants next to it again; search if their order changed.

    The order has changed if another variant is faster now than the winner, and not by chance. It
    counts as changed too if the winner no longer renders, or is not right any more.

    Returns:
        The winner that stands then; None if no variant is right.

    Raises:
        UnsupportedProblem: no plan can run the problem on the target.
    """
    before = readable(winner.variant, runner.problem)
    if before is None:
        return _search(runner, "its variant no longer exists", options, deadline)
    if before.provider:
        return _search(runner, f"its winner is the provider {before}", options, deadline)
    found = hold_finals(runner, [before, *_runners_up(runner, winner, before)], deadline=deadline)
    why = "no variant is right any more" if found is None else _order_change(runner, before, found)
    return _search(runner, why, options, deadline) if why else found


def _runners_up(runner: TrialRunner, winner: Winner, before: Variant) -> list[Variant]:
    """The fastest other variants among the trials of the winner's environment, at most two."""
    trials = runner.store.trials(
        target=winner.target, problem_id=winner.problem_id, status="ok", scope="plan"
    )
    own = next((trial for trial in trials if trial.id == winner.trial_id), None)
    environment = None if own is None else own.environment_id
    latest: dict[str, tuple[float, Variant]] = {}
    for trial in trials:
        variant = readable(trial.key.variant, runner.problem)
        seconds = trial.outcome.ranked_seconds
        if variant is None or variant.provider:
            continue
        if seconds is not None and trial.environment_id == environment:
            latest[variant.id] = seconds, variant
    latest.pop(before.id, None)
    return [v for _, v in sorted(latest.values(), key=lambda item: item[0])][: TOP - 1]


def _order_change(runner: TrialRunner, before: Variant, found: StoredWinner) -> str:
    """How the new winner differs from the old one; empty if the old one is as fast."""
    if found.variant_id == before.id:
        return ""
    old, new = (_latest(runner.trials, name) for name in (before.id, found.variant_id))
    if old is None or new is None or old.outcome.status != "ok":
        return f"{before} is not right any more"
    if tied(old.outcome.samples, new.outcome.samples):
        return ""
    return f"{before} is no longer the fastest"


def _latest(trials: Iterable[Trial], variant_id: str) -> Trial | None:
    own = [t for t in trials if t.variant_id == variant_id and t.key.scope == "plan"]
    return own[-1] if own else None


def _search(
    runner: TrialRunner, why: str, options: Options, deadline: Deadline
) -> StoredWinner | None:
    runner.context.report(Note(text=f"  {why}: the problem is searched again"))
    return tune_problem(runner, options=options, deadline=deadline)
