"""Tuning of one problem: time the default of every plan, search each plan, hold the finals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gdn_ops.codegen.errors import UnsupportedProblem
from gdn_ops.codegen.variant import Variant
from gdn_ops.dispatch.choice import FALLBACK
from gdn_ops.dispatch.compiler import missing_compiler
from gdn_ops.seconds import seconds_text
from gdn_ops.tuner.deadline import Deadline
from gdn_ops.tuner.report.progress import Note
from gdn_ops.tuner.search import finals
from gdn_ops.tuner.search.providers import contenders, may_stay
from gdn_ops.tuner.search.readiness import Readiness
from gdn_ops.tuner.search.space_search import Found, Options, search
from gdn_ops.tuner.search.stage_tuning import StageTuning
from gdn_ops.tuner.search.standing_winner import standing_winner, winner_without_finals
from gdn_ops.tuner.search.trial_runner import TrialRunner
from gdn_ops.tuner.spaces.space import Space, StageSpaces, plans_for, why_no_plan
from gdn_ops.tuner.store.records import StoredWinner

Interfaces = Sequence[StageSpaces]
Candidates = list[tuple[float, Variant]]
"""Variants with their seconds."""

FINALS_SHARE = 0.3
"""Share of a problem's time that is kept for the finals."""
FINALS_FACTOR = 3.0
"""Time kept for the finals, at most, over that of their samples: it also covers the checks."""

SKIP_FACTOR = 8.0
"""A plan is not searched if its default is this many times slower than the fastest default."""

INTERFACES_AT_ONCE = 4
"""Interfaces whose stages are compiled side by side before their defaults are timed."""


def tune_problem(
    runner: TrialRunner, *, options: Options, deadline: Deadline
) -> StoredWinner | None:
    """Find the fastest correct variant of a problem and store it.

    The defaults of all plans are timed first and the best of them is stored at once, so that an
    interruption at any later point leaves a usable winner.

    Args:
        deadline: the last trial and the finals may end a little after it.

    Returns:
        None if no variant is right.

    Raises:
        UnsupportedProblem: no plan can run the problem on the target.
    """
    problem, target = runner.problem, runner.context.target
    plans, missing = _compilable(plans_for(problem, target, options.plans))
    if not plans:
        reasons = missing or why_no_plan(problem, target, options.plans)
        raise UnsupportedProblem(
            f"no plan runs {problem.id()} on {target.name}: {'; '.join(reasons)}"
        )
    for reason in missing:
        runner.context.report(Note(text=f"  left out: {reason}"))
    search_deadline = _search_deadline(runner, deadline)
    seconds = _time_defaults(runner, plans, search_deadline)
    if standing_winner(runner) is None:
        winner_without_finals(runner)
    candidates: Candidates = []
    searched = _worth_searching(runner, plans, seconds)
    for i, plan in enumerate(searched):
        until = search_deadline.share(len(searched) - i)
        candidates += _tune_plan(runner, plans[plan], options=options, deadline=until)
    ranked = [variant for _, variant in sorted(candidates, key=lambda item: item[0])]
    if deadline.passed:
        text = "  no time is left for the finals: the best trial so far is kept; run again to go on"
        runner.context.report(Note(text=text))
        return winner_without_finals(runner)
    providers = contenders(runner, retry=options.again)
    chosen = ranked[: finals.FINALISTS] + _incumbents(runner, plans, seconds)
    return finals.hold_finals(runner, chosen, deadline=deadline, providers=providers)


def _compilable(plans: Mapping[str, Interfaces]) -> tuple[dict[str, Interfaces], list[str]]:
    """The plans whose C++ compiles here, if they have any, and why the others are left out.

    Trials without a compiler would be kept as failed, also for when there is one.
    """
    missing = {name: missing_compiler(_initial_variant(plans[name][0])) for name in plans}
    reasons = [f"plan {name}: {reason}" for name, found in missing.items() for reason in found]
    return {name: found for name, found in plans.items() if not missing[name]}, reasons


def compare_finished(
    runner: TrialRunner, winner: StoredWinner, *, options: Options, deadline: Deadline
) -> StoredWinner | None:
    """Time the winner of a finished problem once more, in turn with the providers asked for.

    A winner that is a provider and may not win in this run stays; the others are timed alone.

    Returns:
        The winner that stands then.
    """
    providers = contenders(runner, retry=options.again)
    if not providers or not may_stay(runner, winner):
        return winner
    chosen = [Variant.from_json(winner.variant, runner.problem)]
    return finals.hold_finals(runner, chosen, deadline=deadline, providers=providers)


def _time_defaults(
    runner: TrialRunner, plans: Mapping[str, Interfaces], deadline: Deadline
) -> dict[str, float]:
    """Seconds of the default variant of each plan, where it is right."""
    seconds: dict[str, float] = {}
    variants = {plan: _initial_variant(interfaces[0]) for plan, interfaces in plans.items()}
    for i, (plan, variant) in enumerate(variants.items()):
        if seconds and deadline.passed:
            break
        if i < 2:  # the first plan alone, so that its trial need not wait for all the others
            runner.prepare_variants(list(variants.values())[i : None if i else 1])
        trial = runner.run_variant(variant, label="defaults")
        timed = trial.outcome.ranked_seconds
        if timed is not None:
            seconds[plan] = timed
    return seconds


def _worth_searching(
    runner: TrialRunner, plans: Mapping[str, Interfaces], seconds: Mapping[str, float]
) -> list[str]:
    """The plans to search; known before any search, so that they can share the time."""
    found = []
    for plan in plans:
        if runner.context.target.gpu and plan == FALLBACK and plan not in seconds:
            # it may wait for the GPU, so no CUDA graph can time it; as fallback it needs no time
            text = f"  plan {plan} is skipped: its default could not be timed"
            runner.context.report(Note(text=text))
        elif plan in seconds and seconds[plan] > SKIP_FACTOR * min(seconds.values()):
            text = f"  plan {plan} is skipped: its default takes {seconds_text(seconds[plan])}"
            runner.context.report(Note(text=text))
        else:
            found.append(plan)
    return found


def _tune_plan(
    runner: TrialRunner, interfaces: Interfaces, *, options: Options, deadline: Deadline
) -> Candidates:
    """The best variant of each interface of a plan; the best few of a plan with one stage."""

    def run(space: Space, until: Deadline) -> Found | None:
        return search(space, runner, options=options, deadline=until)

    if not interfaces[0][0].timed_separately:
        for i, (space,) in enumerate(interfaces):
            if i == 0 or not deadline.passed:
                run(space, deadline.share(len(interfaces) - i))
        return _best_of(runner, interfaces)
    readiness = Readiness(runner)
    timed = _by_initial_seconds(runner, interfaces, readiness, deadline.share(4))
    stages = StageTuning(time_initial=lambda space: _initial_of(runner, space), search=run)
    ordered = [spaces for _, spaces in timed]
    sums = stages.tune(ordered, ready=readiness.ready, deadline=deadline)
    summed = {total.variant.interface for total in sums}
    initial = [(s, _initial_variant(spaces)) for s, spaces in timed if s < float("inf")]
    return [
        *((total.seconds, total.variant) for total in sums),
        *((seconds, variant) for seconds, variant in initial if variant.interface not in summed),
    ]


def _by_initial_seconds(
    runner: TrialRunner, interfaces: Interfaces, readiness: Readiness, deadline: Deadline
) -> list[tuple[float, StageSpaces]]:
    """Interfaces with the seconds of their initial variant, the fastest first.

    An interface that does not compile is left out. One that fails, or that the time did not
    suffice for, comes last with infinite seconds.
    """
    timed: list[tuple[float, StageSpaces]] = []
    for i, spaces in enumerate(interfaces):
        if i and deadline.passed:
            timed.append((float("inf"), spaces))
            continue
        if i % INTERFACES_AT_ONCE == 1:
            readiness.compile(interfaces[i : i + INTERFACES_AT_ONCE])
        usable = readiness.ready(spaces)
        if usable is not None:
            variant = _initial_variant(usable)
            trial = runner.run_variant(variant, label=f"interfaces of {variant.plan}")
            seconds = trial.outcome.ranked_seconds
            timed.append((float("inf") if seconds is None else seconds, usable))
    return sorted(timed, key=lambda item: item[0])


def _initial_of(runner: TrialRunner, space: Space) -> Found | None:
    """The best known config of a stage; if none is known, the initial config is timed."""
    known = runner.known(space) or [
        (space.initial_config, runner.run(space, space.initial_config, best=None))
    ]
    timed = [(seconds, config) for config, trial in known
             if (seconds := trial.outcome.ranked_seconds) is not None]  # fmt: skip
    if not timed:
        return None
    seconds, config = min(timed, key=lambda item: item[0])
    return Found(space, config, seconds)


def _best_of(runner: TrialRunner, interfaces: Interfaces) -> Candidates:
    """The fastest variants of a plan with one stage."""
    found = []
    for (space,) in interfaces:
        for config, trial in runner.known(space):
            seconds = trial.outcome.ranked_seconds
            if seconds is not None:
                found.append((seconds, space.variant(config)))
    return sorted(found, key=lambda item: item[0])[: finals.FINALISTS]


def _initial_variant(spaces: StageSpaces) -> Variant:
    """The variant of an interface with the initial config of each stage."""
    return spaces[0].variant(spaces[0].initial_config)


def _incumbents(
    runner: TrialRunner, plans: Mapping[str, Interfaces], seconds: Mapping[str, float]
) -> list[Variant]:
    """Variants that a new winner must beat: the fastest plan's default and the standing winner."""
    variants = []
    if seconds:
        best = min(seconds, key=seconds.__getitem__)
        variants.append(_initial_variant(plans[best][0]))
    winner = standing_winner(runner)
    if winner is not None:  # its axes and values exist, so it can be read
        variants.append(Variant.from_json(winner.variant, runner.problem))
    return variants


def _search_deadline(runner: TrialRunner, deadline: Deadline) -> Deadline:
    """When the search ends, so that the finals have their share of the time."""
    most = FINALS_FACTOR * finals.max_seconds(runner)
    share = FINALS_SHARE * deadline.remaining
    return deadline.earlier(min(most, max(finals.MIN_SECONDS, share)))
