"""Tuning of one problem: the default of every plan, a search of each, the finals."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

from gdn_ops.codegen.errors import UnsupportedProblem
from gdn_ops.codegen.variant import Variant
from gdn_ops.tuner import finals
from gdn_ops.tuner.attempts import Attempts
from gdn_ops.tuner.progress import Note, seconds_text
from gdn_ops.tuner.search import Found, Options, late, search
from gdn_ops.tuner.space import Space, plans_for, refusals
from gdn_ops.tuner.stage_tuning import share, tune_stages
from gdn_ops.tuner.store_records import StoredWinner

Interfaces = Sequence[tuple[Space, ...]]

FINALS_SHARE = 0.3
"""Of a problem's time is kept for the finals, within these bounds in seconds."""
FINALS_SECONDS = (finals.LEAST_SECONDS, 60.0)

OUTCLASSED = 8.0
"""A plan whose default is this many times slower than another's is not searched."""


def tune_problem(
    attempts: Attempts, *, options: Options, deadline: float | None
) -> StoredWinner | None:
    """Find the fastest right variant of a problem and store it.

    The defaults of all plans come first, and the best of them is stored at once: from then on
    whatever happens leaves a usable winner.

    Args:
        deadline: on the monotonic clock; the last trial and the finals may end a little after it.

    Returns:
        None if no variant is right.

    Raises:
        UnsupportedProblem: no plan can run the problem on the target.
    """
    problem, target = attempts.problem, attempts.context.target
    plans = plans_for(problem, target, options.plans)
    if not plans:
        raise UnsupportedProblem(
            f"no plan runs {problem.id()} on {target.name}: "
            + "; ".join(refusals(problem, target, options.plans))
        )
    until = _search_deadline(deadline)
    seconds = _defaults(attempts, plans, until)
    if finals.standing(attempts) is None:
        finals.settle(attempts)
    candidates: list[tuple[float, Variant]] = []
    for i, (plan, interfaces) in enumerate(plans.items()):
        default = seconds.get(plan)
        if default is not None and default > OUTCLASSED * min(seconds.values()):
            text = f"  plan {plan} is left: its default takes {seconds_text(default)}"
            attempts.context.report(Note(text=text))
            continue
        until_plan = share(until, len(plans) - i)
        candidates += _tune_plan(attempts, interfaces, options=options, deadline=until_plan)
    ranked = [variant for _, variant in sorted(candidates, key=lambda item: item[0])]
    if late(deadline):
        text = "  time is up before the finals: the best trial so far is kept, tune again to go on"
        attempts.context.report(Note(text=text))
        return finals.settle(attempts)
    chosen = ranked[: finals.FINALISTS] + _incumbents(attempts, seconds)
    return finals.hold_finals(attempts, chosen, deadline=deadline)


def _defaults(
    attempts: Attempts, plans: dict[str, list[tuple[Space, ...]]], deadline: float | None
) -> dict[str, float]:
    """Seconds of the default variant of each plan, where it is right."""
    seconds: dict[str, float] = {}
    for plan, interfaces in plans.items():
        variant = _default(interfaces[0])
        if seconds and late(deadline):
            break
        trial = attempts.attempt_variant(variant, label="defaults of the plans")
        if trial.outcome.status == "ok" and trial.outcome.median is not None:
            seconds[plan] = trial.outcome.median
    return seconds


def _tune_plan(
    attempts: Attempts, interfaces: Interfaces, *, options: Options, deadline: float | None
) -> list[tuple[float, Variant]]:
    """The best variants of a plan with their seconds; of single-stage plans the best few."""
    run = partial(_search, attempts, options)
    if interfaces[0][0].alone:
        ordered = _by_default(attempts, interfaces, share(deadline, 4))
        return [(s.seconds, s.variant) for s in tune_stages(ordered, run, deadline=deadline)]
    for i, (space,) in enumerate(interfaces):
        if i == 0 or not late(deadline):
            run(space, share(deadline, len(interfaces) - i))
    return _best_of(attempts, interfaces)


def _search(
    attempts: Attempts, options: Options, space: Space, deadline: float | None
) -> Found | None:
    return search(space, attempts, options=options, deadline=deadline)


def _by_default(
    attempts: Attempts, interfaces: Interfaces, deadline: float | None
) -> list[tuple[Space, ...]]:
    """Interfaces by the time of their default variant; those that fail or came too late last."""
    order: dict[int, float] = {}
    for i, spaces in enumerate(interfaces):
        order[i] = float("inf")
        if i and late(deadline):
            continue
        variant = _default(spaces)
        outcome = attempts.attempt_variant(variant, label=f"interfaces of {variant.plan}").outcome
        if outcome.status == "ok" and outcome.median is not None:
            order[i] = outcome.median
    return [interfaces[i] for i in sorted(order, key=order.__getitem__)]


def _best_of(attempts: Attempts, interfaces: Interfaces) -> list[tuple[float, Variant]]:
    found = []
    for (space,) in interfaces:
        for config, trial in attempts.known(space):
            outcome = trial.outcome
            if outcome.status == "ok" and outcome.median is not None:
                found.append((outcome.median, space.variant(config)))
    return sorted(found, key=lambda item: item[0])[: finals.FINALISTS]


def _default(spaces: tuple[Space, ...]) -> Variant:
    """An interface with the first valid config, which is the default's where that is valid."""
    configs = {space.stage: space.first or {} for space in spaces}
    return Variant.of(spaces[0].plan, spaces[0].problem, dict(spaces[0].interface), configs)


def _incumbents(attempts: Attempts, seconds: dict[str, float]) -> list[Variant]:
    """What must be beaten: the default of the best plan, and the winner that stands."""
    variants = []
    if seconds:
        best = min(seconds, key=seconds.__getitem__)
        variants.append(Variant.default(best, attempts.problem))
    winner = finals.standing(attempts)
    if winner is not None:
        variants.append(Variant.from_json(winner.variant, attempts.problem))
    return variants


def _search_deadline(deadline: float | None) -> float | None:
    if deadline is None:
        return None
    least, most = FINALS_SECONDS
    left = deadline - time.monotonic()
    return deadline - min(most, max(least, FINALS_SHARE * left))
