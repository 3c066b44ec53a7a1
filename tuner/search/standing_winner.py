"""The standing winner of a problem: the stored one that is still right, and what replaces it."""

from __future__ import annotations

from gdn_ops.codegen.variant import Variant
from gdn_ops.dispatch.doubt import conditions_of, is_doubtful, load
from gdn_ops.seconds import seconds_text
from gdn_ops.tuner.report.progress import WinnerStored
from gdn_ops.tuner.search.standing import needs_no_tuning, readable, stands
from gdn_ops.tuner.search.trial_runner import TrialRunner
from gdn_ops.tuner.search.verdict_cache import FINALISTS_TIMED
from gdn_ops.tuner.store.records import NewWinner, StoredWinner, Trial
from gdn_ops.tuner.store.standing import WholeTrial


def standing_winner(runner: TrialRunner) -> StoredWinner | None:
    """The stored winner, if it was measured in this environment and is still right today.

    None if a later trial found its variant wrong, if its source has changed since, if its axes or
    values no longer exist, or if it is a provider that may not win in this run.
    """
    winner = _stored(runner)
    if winner is None or not stands(winner, _repetitions(runner), runner.problem):
        return None
    variant = readable(winner.variant, runner.problem)
    if variant is None or not runner.context.providers.may_win(variant):
        return None
    return winner


def is_finished(runner: TrialRunner) -> bool:
    """Whether the standing winner came out of finals in this environment, and is not doubtful."""
    winner = standing_winner(runner)
    return winner is not None and needs_no_tuning(winner, _repetitions(runner), runner.problem)


def winner_without_finals(runner: TrialRunner) -> StoredWinner | None:
    """Make the fastest correct trial the winner, unless a better winner stands.

    This is what a problem is left with when its finals were not held. The winner is right and
    measured, but not finished, so the next run tunes the problem further.

    Returns:
        The winner that stands then; None if no trial is right.
    """
    best = _best_trial(runner)
    winner = standing_winner(runner)
    if best is None or runner.reference is None:
        return winner
    variant, trial = best
    if winner is not None and (is_finished(runner) or winner.median <= _seconds(trial)):
        return winner
    return store_winner(runner, variant, trial, final=False)


def replace_failed_winner(runner: TrialRunner) -> StoredWinner | None:
    """Retire the stored winner if a trial has shown that it is not right; choose another one.

    Returns:
        The best other trial as the winner; None if no trial is right.
    """
    stored = _stored(runner)
    if stored is not None and standing_winner(runner) is None:
        variant = readable(stored.variant, runner.problem)
        tried = variant is not None and any(_is_of(t, variant, runner) for t in runner.trials)
        # a provider that may not win in this run is not wrong for that
        if variant is not None and tried and runner.context.providers.may_win(variant):
            runner.store.retire_winner(stored.id)
    return winner_without_finals(runner)


def store_winner(
    runner: TrialRunner, variant: Variant, trial: Trial, *, final: bool
) -> StoredWinner | None:
    """Store the variant of an ok trial as the winner and report it.

    Args:
        final: whether the trial was timed in finals.
    """
    context, outcome = runner.context, trial.outcome
    assert outcome.median is not None and outcome.low is not None and outcome.high is not None
    context.store.set_winner(
        NewWinner(
            problem_id=runner.problem.id(),
            target=context.target.name,
            arch=context.target.arch,
            variant_id=variant.id,
            variant=variant.to_json(),
            median=outcome.median,
            low=outcome.low,
            high=outcome.high,
            reference=runner.reference,
            provenance="measured",
            trial_id=trial.id,
            environment_id=context.environment,
        )
    )
    winner = context.store.winner(runner.problem.id(), context.target.name)
    if winner is not None:
        named = str(variant)
        if winner.variant_id != variant.id:  # another tuner of the same database was faster
            theirs = readable(winner.variant, runner.problem)
            named = f"{theirs or winner.variant_id} (of another tuner)"
        text = winner_text(winner, named)
        busy = load(conditions_of(outcome.resources))
        if final and (busy or is_doubtful(winner.low, winner.high)):
            text += f"; doubtful{f' ({busy})' if busy else ''}, tune again on a calm machine"
        context.report(WinnerStored(winner=winner, text=text, final=final))
    return winner


def winner_text(winner: StoredWinner, variant: str) -> str:
    """A winner in one line."""
    interval = f"[{seconds_text(winner.low)}, {seconds_text(winner.high)}]"
    speedup = "" if winner.speedup is None else f", {winner.speedup:.2f}x the reference"
    return f"{variant}: {seconds_text(winner.median)} {interval}{speedup}"


def _best_trial(runner: TrialRunner) -> tuple[Variant, Trial] | None:
    """The fastest correct trial of a whole variant whose axes and source are today's."""
    latest: dict[str, tuple[Variant, Trial]] = {}
    for trial in runner.trials:
        key = trial.key
        variant = readable(key.variant, runner.problem) if key.scope == "plan" else None
        if variant is None or not runner.context.providers.may_win(variant):
            continue
        if variant.provider and FINALISTS_TIMED not in trial.outcome.resources:
            continue  # a provider wins only where it was timed in turn with our own
        if _is_of(trial, variant, runner):
            # the latest trial of a variant counts: it may have found it nondeterministic
            latest[variant.id] = variant, trial
    right = [found for found in latest.values() if found[1].outcome.status == "ok"]
    return min(right, key=lambda found: _seconds(found[1]), default=None)


def _stored(runner: TrialRunner) -> StoredWinner | None:
    """The stored winner if it was measured in this environment, right or not."""
    context = runner.context
    winner = context.store.winner(runner.problem.id(), context.target.name)
    if winner is None or winner.environment_id != context.environment:
        return None
    return winner


def _repetitions(runner: TrialRunner) -> list[WholeTrial]:
    """The problem's trials of whole variants."""
    return [
        WholeTrial(
            id=trial.id, variant_id=trial.variant_id, status=trial.outcome.status,
            sources=trial.sources, resources=trial.outcome.resources,
        )
        for trial in runner.trials
        if trial.key.scope == "plan"
    ]  # fmt: skip


def _is_of(trial: Trial, variant: Variant, runner: TrialRunner) -> bool:
    """Whether a trial timed this whole variant with the source that it has today."""
    whole = trial.key.scope == "plan" and trial.variant_id == variant.id
    return whole and runner.applies_to(trial, variant)


def _seconds(trial: Trial) -> float:
    return trial.outcome.median or float("inf")
