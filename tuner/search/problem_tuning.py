"""Tuning of one problem: the default of every plan, a search of each, the finals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gdn_ops.codegen.errors import UnsupportedProblem
from gdn_ops.codegen.variant import Variant
from gdn_ops.dispatch.choice import FALLBACK
from gdn_ops.seconds import seconds_text
from gdn_ops.tuner.deadline import Deadline
from gdn_ops.tuner.report.progress import Note
from gdn_ops.tuner.search import finals
from gdn_ops.tuner.search.readiness import Readiness
from gdn_ops.tuner.search.space_search import Found, Options, search
from gdn_ops.tuner.search.stage_tuning import StageTuning
from gdn_ops.tuner.search.trial_runner import TrialRunner
from gdn_ops.tuner.spaces.space import Space, StageSpaces, plans_for, refusals
from gdn_ops.tuner.store.records import StoredWinner

Interfaces = Sequence[StageSpaces]
Candidates = list[tuple[float, Variant]]
"""Variants with their seconds."""

FINALS_SHARE = 0.3
"""Of a problem's time is kept for the finals, within bounds: what they time takes ``ASIDE`` times
their own seconds, with the proof of the winner."""
ASIDE = 3.0

OUTCLASSED = 8.0
"""A plan whose default is this many times slower than another's is not searched."""

TOGETHER = 4
"""Interfaces whose stages are compiled side by side, ahead of the timing of their defaults."""


def tune_problem(
    runner: TrialRunner, *, options: Options, deadline: Deadline
) -> StoredWinner | None:
    """Find the fastest right variant of a problem and store it.

    The defaults of all plans come first, and the best of them is stored at once: from then on
    whatever happens leaves a usable winner.

    Args:
        deadline: the last trial and the finals may end a little after it.

    Returns:
        None if no variant is right.

    Raises:
        UnsupportedProblem: no plan can run the problem on the target.
    """
    problem, target = runner.problem, runner.context.target
    plans = plans_for(problem, target, options.plans)
    if not plans:
        raise UnsupportedProblem(
            f"no plan runs {problem.id()} on {target.name}: "
            + "; ".join(refusals(problem, target, options.plans))
        )
    until = _search_deadline(runner, deadline)
    seconds = _defaults(runner, plans, until)
    if finals.standing(runner) is None:
        finals.settle(runner)
    candidates: Candidates = []
    searched = _not_outclassed(runner, plans, seconds)
    for i, plan in enumerate(searched):
        until_plan = until.share(len(searched) - i)
        candidates += _tune_plan(runner, plans[plan], options=options, deadline=until_plan)
    ranked = [variant for _, variant in sorted(candidates, key=lambda item: item[0])]
    if deadline.passed:
        text = "  time is up before the finals: the best trial so far is kept, tune again to go on"
        runner.context.report(Note(text=text))
        return finals.settle(runner)
    chosen = ranked[: finals.FINALISTS] + _incumbents(runner, plans, seconds)
    return finals.hold_finals(runner, chosen, deadline=deadline)


def _defaults(
    runner: TrialRunner, plans: Mapping[str, Interfaces], deadline: Deadline
) -> dict[str, float]:
    """Seconds of the default variant of each plan, where it is right."""
    seconds: dict[str, float] = {}
    variants = {plan: _default(interfaces[0]) for plan, interfaces in plans.items()}
    runner.prepare_variants(list(variants.values()))
    for plan, variant in variants.items():
        if seconds and deadline.passed:
            break
        trial = runner.run_variant(variant, label="defaults of the plans")
        timed = trial.outcome.ranked_seconds
        if timed is not None:
            seconds[plan] = timed
    return seconds


def _not_outclassed(
    runner: TrialRunner, plans: Mapping[str, Interfaces], seconds: Mapping[str, float]
) -> list[str]:
    """The plans worth searching, known before the time is shared among them."""
    found = []
    for plan in plans:
        if runner.context.target.gpu and plan == FALLBACK and plan not in seconds:
            # it may wait for the GPU, so that no graph holds it; as the fallback it needs no time
            text = f"  plan {plan} is left: its default was not timed"
            runner.context.report(Note(text=text))
        elif plan in seconds and seconds[plan] > OUTCLASSED * min(seconds.values()):
            text = f"  plan {plan} is left: its default takes {seconds_text(seconds[plan])}"
            runner.context.report(Note(text=text))
        else:
            found.append(plan)
    return found


def _tune_plan(
    runner: TrialRunner, interfaces: Interfaces, *, options: Options, deadline: Deadline
) -> Candidates:
    """The best variants of a plan with their seconds; of single-stage plans the best few."""

    def run(space: Space, until: Deadline) -> Found | None:
        return search(space, runner, options=options, deadline=until)

    if not interfaces[0][0].timed_separately:
        for i, (space,) in enumerate(interfaces):
            if i == 0 or not deadline.passed:
                run(space, deadline.share(len(interfaces) - i))
        return _best_of(runner, interfaces)
    readiness = Readiness(runner)
    timed = _by_default(runner, interfaces, readiness, deadline.share(4))
    stages = StageTuning(first=lambda space: _first_of(runner, space), search=run)
    ordered = [spaces for _, spaces in timed]
    sums = stages.tune(ordered, ready=readiness.of, deadline=deadline)
    summed = {total.variant.interface for total in sums}
    defaults = [(seconds, _default(spaces)) for seconds, spaces in timed if seconds < float("inf")]
    return [
        *((total.seconds, total.variant) for total in sums),
        *((seconds, variant) for seconds, variant in defaults if variant.interface not in summed),
    ]


def _by_default(
    runner: TrialRunner, interfaces: Interfaces, readiness: Readiness, deadline: Deadline
) -> list[tuple[float, StageSpaces]]:
    """Interfaces with the seconds of their default variant, the fastest first.

    What does not compile is left out; what fails or comes too late is last, of infinite seconds.
    """
    timed: list[tuple[float, StageSpaces]] = []
    for i, spaces in enumerate(interfaces):
        if i and deadline.passed:
            timed.append((float("inf"), spaces))
            continue
        if i % TOGETHER == 1:
            readiness.check(interfaces[i : i + TOGETHER])
        usable = readiness.of(spaces)
        if usable is not None:
            variant = _default(usable)
            trial = runner.run_variant(variant, label=f"interfaces of {variant.plan}")
            seconds = trial.outcome.ranked_seconds
            timed.append((float("inf") if seconds is None else seconds, usable))
    return sorted(timed, key=lambda item: item[0])


def _first_of(runner: TrialRunner, space: Space) -> Found | None:
    """The best config known of a stage; of one nothing is known of, what it begins with, timed."""
    known = runner.known(space) or [(space.start, runner.run(space, space.start, best=None))]
    timed = [(seconds, config) for config, trial in known
             if (seconds := trial.outcome.ranked_seconds) is not None]  # fmt: skip
    if not timed:
        return None
    seconds, config = min(timed, key=lambda item: item[0])
    return Found(space, config, seconds)


def _best_of(runner: TrialRunner, interfaces: Interfaces) -> Candidates:
    found = []
    for (space,) in interfaces:
        for config, trial in runner.known(space):
            seconds = trial.outcome.ranked_seconds
            if seconds is not None:
                found.append((seconds, space.variant(config)))
    return sorted(found, key=lambda item: item[0])[: finals.FINALISTS]


def _default(spaces: StageSpaces) -> Variant:
    """An interface with what each stage begins with: its default where that is valid."""
    return spaces[0].variant(spaces[0].start)


def _incumbents(
    runner: TrialRunner, plans: Mapping[str, Interfaces], seconds: Mapping[str, float]
) -> list[Variant]:
    """What must be beaten: the default of the best plan, and the winner that stands."""
    variants = []
    if seconds:
        best = min(seconds, key=seconds.__getitem__)
        variants.append(_default(plans[best][0]))
    winner = finals.standing(runner)
    if winner is not None:  # and so of today's axes
        variants.append(Variant.from_json(winner.variant, runner.problem))
    return variants


def _search_deadline(runner: TrialRunner, deadline: Deadline) -> Deadline:
    """When the search ends, so that the finals have their share of the time."""
    most = ASIDE * finals.seconds_for(runner)
    share = FINALS_SHARE * deadline.remaining
    return deadline.earlier(min(most, max(finals.LEAST_SECONDS, share)))
