"""Checks of numbers that the command line gives."""

from __future__ import annotations

from gdn_ops.codegen.errors import InvalidInput, shown

MAX_NUMBER = 1_000_000
"""Upper limit of minutes, seconds and counts; far larger times would overflow clocks."""


def above_zero(option: str, number: float) -> float:
    """Return the number; raise InvalidInput unless it is > 0 and <= ``MAX_NUMBER``."""
    if not 0 < number <= MAX_NUMBER:
        raise InvalidInput(f"{option} is {shown(number)}; it must be > 0 and <= {MAX_NUMBER}.")
    return number


def not_negative(option: str, number: float) -> float:
    """Return the number; raise InvalidInput unless it is >= 0 and <= ``MAX_NUMBER``."""
    if not 0 <= number <= MAX_NUMBER:
        raise InvalidInput(f"{option} is {shown(number)}; it must be >= 0 and <= {MAX_NUMBER}.")
    return number
