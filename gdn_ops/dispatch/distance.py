"""How far two problems are apart, to find the stored result that fits a problem best."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from math import log2
from operator import sub
from typing import Any

SAME_FACTS = ("op", "gate", "delta", "dtype", "K", "V", "grad")
"""Facts in which two problems must agree to share a winner."""
SIZE_FACTS = ("tokens", "sequences", "HV", "H")
FLAG_DISTANCE = 0.25
"""Distance of one differing flag, in doublings of a size."""


def can_share(facts: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two problems run the same kernels up to flags and sizes, so may share a winner.

    Args:
        facts, other: as ``Problem.facts()`` gives them, today or in an older version.
    """
    return shared_facts(facts) == shared_facts(other)


def shared_facts(facts: Mapping[str, Any]) -> tuple[Hashable, ...]:
    """A key that is equal for problems that may share a winner, and only for those."""
    # a flag that only one of two versions knows is off in the other
    return tuple(_hashable(facts.get(key) or False) for key in SAME_FACTS)


def has_sizes(facts: Mapping[str, Any]) -> bool:
    """Whether every size is a whole number from 1, as ``distance`` needs."""
    return all(type(facts.get(key)) is int and facts[key] >= 1 for key in SIZE_FACTS)


def distance(facts: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """The distance of two problems, in doublings of a size.

    It is the sum of the doublings between their sizes (tokens, sequences, H, HV) and of
    ``FLAG_DISTANCE`` for each other fact that differs, such as varlen or initial_state. A flag
    counts a quarter of a doubling because it only adds or removes a few loads and stores per
    sequence or per token in the same kernels. Twice the size changes how many programs run, and so
    which tiles and how many warps are best. Four differing flags count like a doubling.

    Facts in ``SAME_FACTS`` count like flags; callers order by ``can_share`` first.

    Args:
        facts, other: as ``Problem.facts()`` gives them; both must have ``has_sizes``.
    """
    return Place.of(facts).distance(Place.of(other))


@dataclass(frozen=True)
class Place:
    """Where a problem is among others, to measure many distances from it.

    Args:
        sizes: logarithms of its sizes.
        flags: its other facts that are not off.
    """

    sizes: tuple[float, ...]
    flags: frozenset[tuple[str, Hashable]]

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Place:
        """The place of a problem; its facts must have ``has_sizes``."""
        # a flag that only one of two versions knows is off in the other
        flags = {(name, _hashable(x)) for name, x in facts.items() if x and name not in SIZE_FACTS}
        return cls(tuple(log2(facts[key]) for key in SIZE_FACTS), frozenset(flags))

    def distance(self, other: Place) -> float:
        """As the function of the same name."""
        sizes: float = sum(map(abs, map(sub, self.sizes, other.sizes)))
        differing = self.flags ^ other.flags
        return sizes + FLAG_DISTANCE * len({name for name, _ in differing}) if differing else sizes


def _hashable(fact: Any) -> Hashable:
    """A fact, which a database may hold as a list or an object, as part of a key."""
    return fact if isinstance(fact, Hashable) else repr(fact)
