"""The smallest set of variants that is nearly as fast as the best one for each of some problems."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import combinations

from gdn_ops.codegen.errors import InvalidInput

Times = Mapping[str, Mapping[str, float]]
"""Seconds by problem and variant; a variant that cannot run a problem is left out there."""

MOST_SETS = 200_000
"""Sets that are looked at; beyond them the variant that serves most of what is left is added."""


def smallest_cover(times: Times, share: float) -> tuple[str, ...]:
    """Choose the fewest variants of which one serves each problem well.

    A variant serves a problem well if it reaches ``share`` of the speed of the fastest one there.
    Of sets of the same size the one with the smallest sum of relative times is taken.

    Args:
        share: > 0 and <= 1.

    Raises:
        InvalidInput: a problem has no variant.
    """
    for problem, own in times.items():
        if not own:
            raise InvalidInput(f"no variant runs {problem}; tune it first.")
    served = _served(times, share)
    variants = sorted(served)
    looked_at = 0
    for size in range(1, len(variants) + 1):
        found = []
        for chosen in combinations(variants, size):
            looked_at += 1
            if looked_at > MOST_SETS:
                return _greedy(times, served)
            if set().union(*(served[variant] for variant in chosen)) == set(times):
                found.append(chosen)
        if found:
            return min(found, key=lambda chosen: (_relative_time(times, chosen), chosen))
    return ()


def best_of(own: Mapping[str, float], chosen: Collection[str]) -> str:
    """The fastest of the chosen variants that run a problem."""
    return min((name for name in own if name in chosen), key=own.__getitem__)


def _served(times: Times, share: float) -> dict[str, set[str]]:
    """The problems that each variant serves well."""
    served: dict[str, set[str]] = {}
    for problem, own in times.items():
        best = min(own.values())
        for variant, seconds in own.items():
            served.setdefault(variant, set())
            if share * seconds <= best:
                served[variant].add(problem)
    return served


def _greedy(times: Times, served: Mapping[str, set[str]]) -> tuple[str, ...]:
    left, chosen = set(times), list[str]()
    while left:
        best = max(served, key=lambda variant: (len(served[variant] & left), variant))
        chosen.append(best)
        left -= served[best]
    return tuple(sorted(chosen))


def _relative_time(times: Times, chosen: Collection[str]) -> float:
    return sum(own[best_of(own, chosen)] / min(own.values()) for own in times.values())
