"""Stage tuning: the stages of a plan tuned apart, for each interface they may share.

Stages run one after another, so their times add: the best variant of an interface is the best
config of every stage, and a product of spaces is searched as a sum.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gdn_ops.codegen.variant import Variant
from gdn_ops.tuner.search import Found, late
from gdn_ops.tuner.space import Space

SearchSpace = Callable[[Space, float | None], Found | None]
"""Searches a space until a moment of the monotonic clock."""

LEAST_SECONDS = 20.0
"""A stage's share of the time is no less; when time is short, fewer interfaces are tuned."""

HOPELESS = 1.1
"""An interface is left when its first stages alone take this much of the best whole sum."""


@dataclass(frozen=True)
class Sum:
    """A variant put together from stages tuned apart, and the sum of their times."""

    variant: Variant
    seconds: float


def tune_stages(
    interfaces: Sequence[tuple[Space, ...]], search: SearchSpace, *, deadline: float | None
) -> list[Sum]:
    """Tune every stage under every interface and return the sums, best first.

    Args:
        interfaces: the spaces of the stages of each interface, the most promising interface
            first; a stage that reads the same of two interfaces is searched once.
        deadline: on the monotonic clock; interfaces that come too late are left out.
    """
    found: dict[Any, Found | None] = {}
    left = len({_place(space) for spaces in interfaces for space in spaces})
    sums: list[Sum] = []
    for spaces in interfaces:
        stages: list[Found] = []
        for space in spaces:
            place = _place(space)
            if place not in found:
                if late(deadline):
                    return sorted(sums, key=lambda total: total.seconds)
                found[place] = search(space, share(deadline, left, least=LEAST_SECONDS))
                left -= 1
            best = found[place]
            if best is None:
                break
            stages.append(best)
            if sums and _seconds(stages) > HOPELESS * min(total.seconds for total in sums):
                break
        if len(stages) == len(spaces):
            sums.append(Sum(_variant(spaces[0], stages), _seconds(stages)))
    return sorted(sums, key=lambda total: total.seconds)


def share(deadline: float | None, parts: int, *, least: float = 0.0) -> float | None:
    """When the next of some parts should end, so that all have the same time, or ``least``."""
    if deadline is None:
        return None
    now = time.monotonic()
    return min(deadline, now + max(least, (deadline - now) / max(1, parts)))


def _place(space: Space) -> tuple[Any, ...]:
    return (space.plan, space.stage, *space.shared.items())


def _seconds(stages: Sequence[Found]) -> float:
    return sum(stage.seconds for stage in stages)


def _variant(space: Space, stages: Sequence[Found]) -> Variant:
    configs = {stage.space.stage: stage.config for stage in stages}
    return Variant.of(space.plan, space.problem, dict(space.interface), configs)
