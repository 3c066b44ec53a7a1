"""Numbers given on the command line, within their limits."""

from __future__ import annotations

from gdn_ops.codegen.errors import InvalidInput, shown

MAX_NUMBER = 1_000_000
"""Of whatever is counted; more minutes are a lifetime, and clocks overflow."""


def above_zero(option: str, number: float) -> float:
    """A number above 0, at most ``MAX_NUMBER``, or InvalidInput."""
    if not 0 < number <= MAX_NUMBER:
        raise InvalidInput(f"{option} is {shown(number)}; give more than 0, at most {MAX_NUMBER}.")
    return number


def not_negative(option: str, number: float) -> float:
    """A number from 0 to ``MAX_NUMBER``, or InvalidInput."""
    if not 0 <= number <= MAX_NUMBER:
        raise InvalidInput(f"{option} is {shown(number)}; give a number from 0 to {MAX_NUMBER}.")
    return number
