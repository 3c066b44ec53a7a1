"""The rules of winners: whether a stored one still stands, and whether it needs no more tuning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gdn_ops.codegen.errors import InvalidConfig, UnknownName
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.variant import Variant
from gdn_ops.dispatch.doubt import conditions_of, is_doubtful, load
from gdn_ops.dispatch.providers import missing_provider
from gdn_ops.tuner.search.verdict_cache import FINALISTS_TIMED, proven_repeatable
from gdn_ops.tuner.spaces.sources import sources_of
from gdn_ops.tuner.store.models import FAULT
from gdn_ops.tuner.store.records import StoredWinner
from gdn_ops.tuner.store.standing import WholeTrial

MOST_BUSY_FINALS = 3
"""Finals of a winner, at most, if the machine is busy each time."""


def stands(winner: StoredWinner, repetitions: Sequence[WholeTrial], problem: Problem) -> bool:
    """Whether the latest trial of a winner's variant, with the source of today, is ok.

    So no later trial has found it wrong, its source is the same, and its axes and values exist.

    Args:
        repetitions: trials of whole variants in the winner's environment, the newest last, among
            them those of its variant.
    """
    variant = readable(winner.variant, problem)
    sources = None if variant is None else sources_of(problem, variant)
    if variant is None or sources is None:
        return False
    same = [
        each.status for each in repetitions
        if (each.variant_id, each.sources) == (variant.id, sources) and each.status != FAULT
    ]  # fmt: skip
    return bool(same) and same[-1] == "ok"


def needs_no_tuning(
    winner: StoredWinner, repetitions: Sequence[WholeTrial], problem: Problem
) -> bool:
    """Whether a winner that stands came out of finals, repeated bitwise, and is not doubtful.

    One that was measured on a busy machine is held to finals again in the next runs, but not for
    ever: some machines are always busy.

    Where the provider that won is missing, the problem has no winner.
    """
    timed = next((each for each in repetitions if each.id == winner.trial_id), None)
    resources = None if timed is None else timed.resources
    if not isinstance(resources, Mapping) or FINALISTS_TIMED not in resources:
        return False
    if not proven_repeatable(resources) or is_doubtful(winner.low, winner.high):
        return False
    if load(conditions_of(resources)) and _finals(winner, repetitions) < MOST_BUSY_FINALS:
        return False
    variant = readable(winner.variant, problem)
    return variant is None or not variant.provider or not missing_provider(problem, variant)


def _finals(winner: StoredWinner, repetitions: Sequence[WholeTrial]) -> int:
    """In how many finals the variant of a winner was timed."""
    return sum(
        each.variant_id == winner.variant_id
        and isinstance(each.resources, Mapping)
        and FINALISTS_TIMED in each.resources
        for each in repetitions
    )


def readable(data: Mapping[str, Any], problem: Problem) -> Variant | None:
    """A stored variant; None if its axes or values no longer exist."""
    try:
        return Variant.from_json(data, problem)
    except (InvalidConfig, UnknownName):
        return None
