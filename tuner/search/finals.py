"""Finals: the best variants are timed once more, in turn with the reference; the winner is stored.

Each candidate runs end to end. All of them take turns in one run, so that what slows the machine
down for a while slows all of them alike.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from math import inf

from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.variant import Variant
from gdn_ops.dispatch.doubt import is_doubtful, load
from gdn_ops.tuner.deadline import Deadline
from gdn_ops.tuner.measure.statistics import MAX_TIE_RATIO, contending, tied
from gdn_ops.tuner.report.progress import FinalsStarted, Note
from gdn_ops.tuner.search.standing_winner import (
    replace_failed_winner,
    store_winner,
    winner_without_finals,
)
from gdn_ops.tuner.search.trial_runner import TrialRunner, failure, outcome_of
from gdn_ops.tuner.search.verdict_cache import FINALISTS_TIMED, number
from gdn_ops.tuner.spaces.space import plan_key
from gdn_ops.tuner.store.new_trial import NewTrial
from gdn_ops.tuner.store.records import Outcome, StoredWinner, Trial
from gdn_ops.tuner.workers.harness import Effort, Measured, Timing, Verdict

FINALISTS = 4
"""Variants that the search sends to the finals."""
ROUNDS = 5
"""Samples of each finalist, at least."""
MIN_SECONDS, MAX_SECONDS = 3.0, 20.0
"""Time for all samples of the finals."""
MAX_GPU_SECONDS = 3.0
"""The same upper limit on a GPU, where a sample takes milliseconds."""

MOST_MEASUREMENTS = 3
"""Measurements of the finals, at most, if their times vary too much."""
CALM_SECONDS, CALM_SHARE = 30.0, 0.25
"""How long a busy machine is waited for in between, and the share of the time that is left."""
SHORT_CALM_SECONDS = 5.0
"""The same if the times agree although the machine is busy."""

LABEL = "finals"


@dataclass(frozen=True)
class Finalist:
    """A right variant with its times from the finals.

    Args:
        needs: bytes of stack, bytes of shared memory and registers per thread; 0 where unknown.
    """

    variant: Variant
    timing: Timing
    needs: tuple[float, ...] = ()


def hold_finals(
    runner: TrialRunner,
    candidates: Sequence[Variant],
    *,
    deadline: Deadline,
    providers: Sequence[Variant] = (),
) -> StoredWinner | None:
    """Time candidates once more, choose the winner, check its repeatability and store it.

    Args:
        candidates: best first; a default variant among them is preferred in a tie.
        deadline: when the finals should be over; they take ``MIN_SECONDS`` in any case.
        providers: are timed in turn with the candidates, and win only where they may.

    Returns:
        None if no candidate is right.
    """
    variants = _right(runner, [*candidates, *providers])
    if not any(map(runner.context.providers.may_win, variants)):
        return replace_failed_winner(runner)
    runner.context.report(FinalsStarted(variants=tuple(str(variant) for variant in variants)))
    seconds = min(max_seconds(runner), max(MIN_SECONDS, deadline.remaining))
    effort = Effort(rounds=ROUNDS, seconds=seconds, reference=True, eager=True, settle=True)
    measured = measured_calmly(runner, variants, effort, deadline)
    ours = [variant for variant in candidates if not variant.provider]
    if measured.status != "ok" and ours and any(variant.provider for variant in variants):
        text = f"  the finals failed ({measured.status}) and are held again without providers"
        runner.context.report(Note(text=text))
        why = f"finals with it failed: {measured.message}"
        failed = failure(Verdict(status=measured.status, message=why))
        broken = [_ended(runner, each, failed) for each in variants if each.provider]
        runner.record_all(broken, label=LABEL)
        return hold_finals(runner, ours, deadline=deadline)
    if measured.status != "ok" or measured.reference is None:
        text = f"  the finals failed ({measured.status}): {measured.message}"
        runner.context.report(Note(text=text))
        return winner_without_finals(runner)
    runner.reference = measured.reference.median
    for warning in measured.conditions.get("warnings", ()):
        runner.context.report(Note(text=f"  warning: {warning}"))
    finalists = [
        Finalist(variant, measured.timings[variant.id], _needs(runner.verdicts.verdict(variant)))
        for variant in variants
        if variant.id in measured.timings
    ]
    return _record_finalists(runner, finalists, measured)


def measured_calmly(
    runner: TrialRunner, variants: Sequence[Variant], effort: Effort, deadline: Deadline
) -> Measured:
    """Time variants; again if the fastest one's time is doubtful, while there is time.

    If the times agree and only the machine was busy, they are measured again once it is calm. Of
    several measurements that of a calm machine counts, and then that whose fastest variant varies
    least.
    """
    best = runner.harness.measure(runner.problem, variants, stage=None, effort=effort)
    for _ in range(MOST_MEASUREMENTS - 1):
        wide, busy = is_doubtful(1.0, spread(best)), load(best.conditions)
        if not (wide or busy) or deadline.remaining < 2 * effort.seconds:
            break
        most = CALM_SECONDS if wide else SHORT_CALM_SECONDS
        why = f"the finals' times vary by a factor of {spread(best):.1f}" if wide else busy
        runner.context.report(Note(text=f"  {why}: measured again when the machine is calm"))
        calm = runner.harness.wait_until_calm(min(most, CALM_SHARE * deadline.remaining))
        if not (wide or calm):
            break
        again = runner.harness.measure(runner.problem, variants, stage=None, effort=effort)
        best = min(best, again, key=lambda each: (bool(load(each.conditions)), spread(each)))
    return best


def spread(measured: Measured) -> float:
    """The upper over the lower bound of the fastest variant's interval."""
    if not measured.timings:
        return inf
    standing = contending({name: timing.samples for name, timing in measured.timings.items()})
    fastest = min((measured.timings[name] for name in standing), key=lambda timing: timing.median)
    return fastest.high / fastest.low


def max_seconds(runner: TrialRunner) -> float:
    """The longest time that the samples of the finals may take on the target."""
    return MAX_GPU_SECONDS if runner.context.target.gpu else MAX_SECONDS


def best_first(finalists: Sequence[Finalist], defaults: Collection[str]) -> list[Finalist]:
    """Order finalists: those tied with the fastest one first, then the others by their time, and
    last those that were taken out of the run because they were certain to lose.

    Among tied ones the more robust one comes first: the default variant of a plan, then the one
    that spills the fewest bytes and takes the least shared memory and registers.

    Args:
        defaults: ids of the plans' default variants.
    """
    standing = contending({each.variant.id: each.timing.samples for each in finalists})
    fastest = min(
        (each for each in finalists if each.variant.id in standing),
        key=lambda finalist: finalist.timing.median,
    )

    def order(finalist: Finalist) -> tuple[bool, bool, bool, tuple[float, ...], float]:
        out = finalist.variant.id not in standing
        if out or not _tied(finalist, fastest):
            return out, True, True, (), finalist.timing.median
        default = finalist.variant.id in defaults
        return False, False, not default, finalist.needs, finalist.timing.median

    return sorted(finalists, key=order)


def _tied(finalist: Finalist, fastest: Finalist) -> bool:
    if finalist is fastest:
        return True
    if finalist.timing.median > MAX_TIE_RATIO * fastest.timing.median:
        return False
    return tied(finalist.timing.samples, fastest.timing.samples)


def _needs(verdict: Verdict) -> tuple[float, ...]:
    known = verdict.resources
    return tuple(number(known.get(name)) for name in ("stack", "shared", "registers"))


def _right(runner: TrialRunner, candidates: Sequence[Variant]) -> list[Variant]:
    """The candidates that pass the accuracy gate; the others are recorded as failed trials."""
    right = []
    for variant in {variant.id: variant for variant in candidates}.values():
        verdict = runner.verdicts.verdict(variant)
        if verdict.ok:
            right.append(variant)
        else:
            runner.record_all([_ended(runner, variant, failure(verdict))], label=LABEL)
    return right


def _record_finalists(
    runner: TrialRunner, finalists: Sequence[Finalist], measured: Measured
) -> StoredWinner | None:
    """Record every finalist; the first in ``best_first`` order that repeats bitwise wins.

    Where that is a provider, the first of our own is stored before it. Providers that may not win
    come last.
    """

    def ended(variant: Variant, verdict: Verdict) -> NewTrial:
        resources = {**verdict.resources, FINALISTS_TIMED: len(finalists)}
        verdict = replace(verdict, resources=resources)
        outcome = outcome_of(variant, verdict, measured) if verdict.ok else failure(verdict)
        return _ended(runner, variant, outcome)

    defaults = {Variant.default(name, runner.problem).id for name in PLANS}
    may_win = runner.context.providers.may_win
    able = [finalist for finalist in finalists if may_win(finalist.variant)]
    left = [each.variant for each in best_first(able, defaults)] if able else []

    def first_right(variants: Sequence[Variant]) -> tuple[Variant, Trial] | None:
        for variant in variants:
            left.remove(variant)
            verdict = runner.verdicts.winner_verdict(variant)
            (trial,) = runner.record_all([ended(variant, verdict)], label=LABEL)
            if verdict.ok:
                return variant, trial
        return None

    winner: StoredWinner | None = None
    if best := first_right([*left]):
        # first our own best one, which runs where the provider is missing; see dispatch/own_winners
        ours = [variant for variant in left if not variant.provider] if best[0].provider else []
        if own := first_right(ours):
            store_winner(runner, *own, final=False)
        winner = store_winner(runner, *best, final=True)
    left += [finalist.variant for finalist in finalists if not may_win(finalist.variant)]
    others = [ended(variant, runner.verdicts.verdict(variant)) for variant in left]
    runner.record_all(others, label=LABEL)
    return replace_failed_winner(runner) if winner is None else winner


def _ended(runner: TrialRunner, variant: Variant, outcome: Outcome) -> NewTrial:
    return runner.ended(plan_key(runner.problem, runner.context.target, variant), outcome, variant)
