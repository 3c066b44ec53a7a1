"""Finals: the best variants timed once more, interleaved with the reference; the winner stored."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gdn_ops.codegen.errors import InvalidConfig, UnknownName
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.variant import Variant
from gdn_ops.seconds import seconds_text
from gdn_ops.tuner.deadline import Deadline
from gdn_ops.tuner.measure.statistics import tied
from gdn_ops.tuner.report.progress import FinalsBegan, Note, WinnerStored
from gdn_ops.tuner.search.trial_runner import TrialRunner, failure, outcome_of
from gdn_ops.tuner.search.verdict_cache import FINALISTS_TIMED, number, proven
from gdn_ops.tuner.spaces.space import plan_key
from gdn_ops.tuner.store.records import NewWinner, StoredWinner, Trial
from gdn_ops.tuner.workers.harness import Effort, Measured, Timing, Verdict

FINALISTS = 4
ROUNDS = 5
LEAST_SECONDS = 3.0
MOST_SECONDS = 20.0
GPU_SECONDS = 3.0
"""At most on a GPU, where a round takes milliseconds for each finalist."""

TIE = 1.02
"""Beyond this ratio a variant has lost, however wide the intervals are."""

LABEL = "finals"


@dataclass(frozen=True)
class Finalist:
    """A variant that is right, with its times from the finals and what it needs, less is better."""

    variant: Variant
    timing: Timing
    needs: tuple[float, ...] = ()


def hold_finals(
    runner: TrialRunner, candidates: Sequence[Variant], *, deadline: Deadline
) -> StoredWinner | None:
    """Time candidates once more, choose the winner, make it prove itself and store it.

    Args:
        candidates: best first; the default variant among them is preferred in a tie.
        deadline: by which the finals should be over; they take their least time even so.

    Returns:
        None if no candidate is right.
    """
    variants = _right(runner, candidates)
    if not variants:
        return _without_finals(runner)
    runner.context.report(FinalsBegan(variants=tuple(str(variant) for variant in variants)))
    most = seconds_for(runner)
    effort = Effort(
        rounds=ROUNDS,
        seconds=min(most, max(LEAST_SECONDS, deadline.remaining)),
        reference=True,
        eager=True,
    )
    measured = runner.harness.measure(runner.problem, variants, stage=None, effort=effort)
    if measured.status != "ok" or measured.reference is None:
        runner.context.report(
            Note(text=f"  the finals ended {measured.status}: {measured.message}")
        )
        return settle(runner)
    runner.reference = measured.reference.median
    for flag in measured.conditions.get("flags", ()):
        runner.context.report(Note(text=f"  doubt: {flag}"))
    finalists = [
        Finalist(variant, measured.timings[variant.id], _needs(runner.verdicts.verdict(variant)))
        for variant in variants
        if variant.id in measured.timings
    ]
    return _store_winner(runner, finalists, measured)


def seconds_for(runner: TrialRunner) -> float:
    """What finals on the target take at most."""
    return GPU_SECONDS if runner.context.target.gpu else MOST_SECONDS


def settle(runner: TrialRunner) -> StoredWinner | None:
    """Store the best of the trials there are, without finals, unless a better winner stands.

    This is what an interruption leaves: right, measured, and known as not final.
    """
    best = _best_trial(runner)
    winner = standing(runner)
    if best is None or runner.reference is None:
        return winner
    variant, trial = best
    if winner is not None and (finished(runner) or winner.median <= _seconds(trial)):
        return winner
    return _store(runner, variant, trial, final=False)


def standing(runner: TrialRunner) -> StoredWinner | None:
    """The winner that stands: measured in this environment with today's sources, and still right.

    None for a winner that a later trial found wrong, or whose axes are gone.
    """
    winner = _stored(runner)
    variant = None if winner is None else _readable(winner.variant, runner.problem)
    if winner is None or variant is None:
        return None
    latest = next((t for t in reversed(runner.trials) if _is_of(t, variant, runner)), None)
    return winner if latest is not None and latest.outcome.status == "ok" else None


def finished(runner: TrialRunner) -> bool:
    """Whether the winner that stands came out of finals in this environment."""
    winner = standing(runner)
    if winner is None or winner.trial_id is None:
        return False
    timed = next((t for t in runner.trials if t.id == winner.trial_id), None)
    resources = {} if timed is None else timed.outcome.resources
    return FINALISTS_TIMED in resources and proven(resources)


def ranked(finalists: Sequence[Finalist], defaults: Collection[str]) -> list[Finalist]:
    """Best first: the fastest, but among those it cannot be told from, the most robust.

    Robust is a plan's default variant (``defaults`` are their ids), then what spills least and
    takes the least shared memory and registers, where that is known.
    """
    fastest = min(finalists, key=lambda finalist: finalist.timing.median)

    def order(finalist: Finalist) -> tuple[bool, bool, tuple[float, ...], float]:
        if not _tied(finalist, fastest):
            return True, True, (), finalist.timing.median
        default = finalist.variant.id in defaults
        return False, not default, finalist.needs, finalist.timing.median

    return sorted(finalists, key=order)


def winner_text(winner: StoredWinner, variant: str) -> str:
    """A winner in one line."""
    interval = f"[{seconds_text(winner.low)}, {seconds_text(winner.high)}]"
    speedup = "" if winner.speedup is None else f", {winner.speedup:.2f}x the reference"
    return f"{variant}: {seconds_text(winner.median)} {interval}{speedup}"


def _best_trial(runner: TrialRunner) -> tuple[Variant, Trial] | None:
    """The fastest right trial of a whole variant that today's axes still have."""
    latest: dict[str, tuple[Variant, Trial]] = {}
    for trial in runner.trials:
        key = trial.key
        data = {"plan": key.plan, "interface": key.interface, "stages": key.config}
        variant = _readable(data, runner.problem) if key.scope == "plan" else None
        if variant is not None and _is_of(trial, variant, runner):
            # the last word on a variant counts: a later proof may have found it nondeterministic
            latest[variant.id] = variant, trial
    right = [found for found in latest.values() if found[1].outcome.status == "ok"]
    return min(right, key=lambda found: _seconds(found[1]), default=None)


def _stored(runner: TrialRunner) -> StoredWinner | None:
    """The winner that the store has of this environment, whatever became of its variant."""
    context = runner.context
    winner = context.store.winner(runner.problem.id(), context.target.name)
    if winner is None or winner.environment_id != context.environment:
        return None
    return winner


def _readable(data: Mapping[str, Any], problem: Problem) -> Variant | None:
    """A stored variant, if today's axes still have it."""
    try:
        return Variant.from_json(data, problem)
    except (InvalidConfig, UnknownName):
        return None


def _is_of(trial: Trial, variant: Variant, runner: TrialRunner) -> bool:
    """Whether a trial is of a whole variant as it is rendered today."""
    whole = trial.key.scope == "plan" and trial.variant_id == variant.id
    return whole and runner.holds(trial, variant)


def _seconds(trial: Trial) -> float:
    return trial.outcome.median or float("inf")


def _tied(finalist: Finalist, fastest: Finalist) -> bool:
    if finalist is fastest:
        return True
    if finalist.timing.median > TIE * fastest.timing.median:
        return False
    return tied(finalist.timing.samples, fastest.timing.samples)


def _needs(verdict: Verdict) -> tuple[float, ...]:
    known = verdict.resources
    return tuple(number(known.get(name)) for name in ("stack", "shared", "registers"))


def _right(runner: TrialRunner, candidates: Sequence[Variant]) -> list[Variant]:
    """The candidates that pass the gate as a whole; the others are recorded and left out."""
    right = []
    for variant in {variant.id: variant for variant in candidates}.values():
        verdict = runner.verdicts.verdict(variant)
        if verdict.ok:
            right.append(variant)
        else:
            key = plan_key(runner.problem, runner.context.target, variant)
            runner.record(key, failure(verdict), variant, label=LABEL)
    return right


def _store_winner(
    runner: TrialRunner, finalists: Sequence[Finalist], measured: Measured
) -> StoredWinner | None:
    """The first of the ranked finalists that repeats bitwise is stored, the others recorded."""
    winner: StoredWinner | None = None
    defaults = {Variant.default(name, runner.problem).id for name in PLANS}
    for finalist in ranked(finalists, defaults) if finalists else ():
        variant = finalist.variant
        verdict = (
            runner.verdicts.proof(variant) if winner is None else runner.verdicts.verdict(variant)
        )
        resources = {**verdict.resources, FINALISTS_TIMED: len(finalists)}
        verdict = replace(verdict, resources=resources)
        outcome = outcome_of(variant, verdict, measured) if verdict.ok else failure(verdict)
        key = plan_key(runner.problem, runner.context.target, variant)
        trial = runner.record(key, outcome, variant, label=LABEL)
        if winner is None and verdict.ok:
            winner = _store(runner, variant, trial, final=True)
    return _without_finals(runner) if winner is None else winner


def _without_finals(runner: TrialRunner) -> StoredWinner | None:
    """What is left when no finalist passed: the best other trial, or no winner at all."""
    stored = _stored(runner)
    if stored is not None and standing(runner) is None:
        variant = _readable(stored.variant, runner.problem)
        if variant is not None and any(_is_of(t, variant, runner) for t in runner.trials):
            runner.store.retire_winner(stored.id)
    return settle(runner)


def _store(
    runner: TrialRunner, variant: Variant, trial: Trial, *, final: bool
) -> StoredWinner | None:
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
        text = winner_text(winner, str(variant))
        context.report(WinnerStored(winner=winner, text=text, final=final))
    return winner
