"""Providers: installed libraries that a problem's variants are compared with, and that may win."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gdn_ops.codegen.variant import Provided, Variant
from gdn_ops.tuner.measure.statistics import MAX_TIE_RATIO, tied
from gdn_ops.tuner.report.progress import Note, first_line
from gdn_ops.tuner.search.standing import readable
from gdn_ops.tuner.search.trial_runner import TrialRunner
from gdn_ops.tuner.search.verdict_cache import FINALISTS_TIMED
from gdn_ops.tuner.store.records import StoredWinner, Trial

LABEL = "providers"


@dataclass(frozen=True)
class Compared:
    """What a provider did on a problem, or why it cannot compute it.

    Args:
        release: its name and version, e.g. ``fla 0.6.0``.
        status: ``ok``, how its trial failed, ``refused`` if it cannot compute the problem, or
            ``not timed`` if the run ended before.
        reason: in words, unless it is ok.
        won: whether it is the stored winner.
        speed: its speed over that of the winner, both timed in the same finals; None if unknown.
        faster: whether it is faster than the winner there, and not tied with it.
    """

    problem_id: str
    provider: str
    release: str
    status: str
    reason: str = ""
    median: float | None = None
    low: float | None = None
    high: float | None = None
    won: bool = False
    speed: float | None = None
    faster: bool = False
    trial_id: int | None = None


def contenders(runner: TrialRunner, *, retry: bool = False) -> list[Variant]:
    """Check and time the providers that can compute a problem, each alone.

    So one that crashes or hangs costs its own trial, and not the finals.

    Args:
        retry: try again what has failed in an earlier run.

    Returns:
        Those that are right and can be ranked; the finals time them in turn with our variants.
    """
    right: list[Variant] = []
    for variant in runner.context.providers.variants():
        if reasons := variant.reasons(runner.problem, runner.context.target):
            runner.context.report(Note(text=f"  {variant} is not timed: {'; '.join(reasons)}"))
            continue
        trial = runner.run_variant(variant, label=LABEL, retry=retry)
        if trial.outcome.ranked_seconds is not None:
            right.append(variant)
    return right


def is_compared(runner: TrialRunner, winner: StoredWinner) -> bool:
    """Whether a finished problem needs no new finals for the providers that were asked for."""
    comparable = may_stay(runner, winner)
    for variant in _able(runner):
        if variant.id == winner.variant_id:
            continue
        trial = _latest(runner, variant)
        if trial is None:
            return False
        if trial.outcome.ranked_seconds is None or not comparable:
            continue
        if FINALISTS_TIMED not in trial.outcome.resources:
            return False
        if runner.context.providers.allowed and _beats(runner, trial, winner):
            return False
    return True


def may_stay(runner: TrialRunner, winner: StoredWinner) -> bool:
    """Whether the stored winner could win in this run too, so that finals may be held with it."""
    variant = readable(winner.variant, runner.problem)
    return variant is not None and runner.context.providers.may_win(variant)


def _beats(runner: TrialRunner, trial: Trial, winner: StoredWinner) -> bool:
    """Whether a trial is faster than the winner, and not tied with it."""
    seconds = trial.outcome.ranked_seconds
    if seconds is None or seconds >= winner.median:
        return False
    beaten = _trial_of(runner, winner)
    if beaten is None or winner.median > MAX_TIE_RATIO * seconds:
        return True
    return not tied(trial.outcome.samples, beaten.outcome.samples)


def _trial_of(runner: TrialRunner, winner: StoredWinner | None) -> Trial | None:
    """The trial that made the winner."""
    row = None if winner is None else winner.trial_id
    return next((trial for trial in runner.trials if trial.id == row), None)


def compared(runner: TrialRunner, winner: StoredWinner | None) -> Iterator[Compared]:
    """What each provider that was asked for did on a problem."""
    able = {variant.provider for variant in _able(runner)}
    for variant in runner.context.providers.variants():
        name = runner.problem.id(), variant.provider, str(variant)
        trial = _latest(runner, variant)
        if variant.provider not in able:
            reasons = variant.reasons(runner.problem, runner.context.target)
            yield Compared(*name, "refused", "; ".join(reasons))
        elif trial is None:
            yield Compared(*name, "not timed", "the run ended before; run again to go on")
        else:
            yield _row(runner, name, trial, winner)


def _row(
    runner: TrialRunner, name: tuple[str, str, str], trial: Trial, winner: StoredWinner | None
) -> Compared:
    outcome = trial.outcome
    if outcome.ranked_seconds is None:
        return Compared(*name, outcome.status, first_line(outcome.message), trial_id=trial.id)
    beaten = _trial_of(runner, winner)
    # only times of the same finals compare
    final = FINALISTS_TIMED in outcome.resources
    same = final and beaten is not None and beaten.run_id == trial.run_id
    return Compared(
        *name, "ok", "", outcome.median, outcome.low, outcome.high,
        won=winner is not None and winner.variant_id == trial.variant_id,
        speed=winner.median / outcome.ranked_seconds if same and winner is not None else None,
        faster=same and winner is not None and _beats(runner, trial, winner),
        trial_id=trial.id,
    )  # fmt: skip


def outcome_text(row: Compared) -> str:
    """How a provider did, in words."""
    if row.status == "refused":
        return f"cannot compute it: {row.reason}"
    if row.status != "ok":
        return f"{row.status}: {row.reason}"
    if row.won:
        return "won"
    if row.speed is None:
        return "not timed with the winner"
    if row.faster:
        return "faster than the winner"
    return "as fast as the winner" if row.speed > 1 else "slower"


def _able(runner: TrialRunner) -> list[Provided]:
    """The providers that can compute the problem of a runner."""
    problem, target = runner.problem, runner.context.target
    return [v for v in runner.context.providers.variants() if not v.reasons(problem, target)]


def _latest(runner: TrialRunner, variant: Variant) -> Trial | None:
    own = (t for t in reversed(runner.trials) if t.variant_id == variant.id)
    return next((t for t in own if runner.applies_to(t, variant)), None)
