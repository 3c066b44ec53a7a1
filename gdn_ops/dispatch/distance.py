"""How far two problems are apart, to find the stored result that fits a problem best."""

from __future__ import annotations

from collections.abc import Mapping
from math import log2
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
    return not any(_differ(facts, other, key) for key in SAME_FACTS)


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
    sizes: float = sum(abs(log2(facts[key]) - log2(other[key])) for key in SIZE_FACTS)
    flags = (facts.keys() | other.keys()) - {*SIZE_FACTS}
    return sizes + FLAG_DISTANCE * sum(_differ(facts, other, flag) for flag in flags)


def _differ(facts: Mapping[str, Any], other: Mapping[str, Any], key: str) -> bool:
    # a flag that only one of two versions knows is off in the other
    return bool((facts.get(key) or False) != (other.get(key) or False))
