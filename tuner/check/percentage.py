"""Percentages as users write them: ``3%``."""

from __future__ import annotations

import re

from gdn_ops.codegen.errors import InvalidInput, shown

_PERCENTAGE = re.compile(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+) ?%")


def percentage(given: object, *, of: str) -> float:
    """The fraction that a percentage stands for, e.g. 0.03 of ``"3%"``.

    A number without its sign is refused: 0.03 may mean 3 % or 0.03 %.

    Args:
        given: from a command line or a file; anything but a text is refused.
        of: what the percentage is of, and where it stands, as a message begins with it.

    Raises:
        InvalidInput: it is not a text of a number and ``%``, or exceeds 100%.
    """
    match = _PERCENTAGE.fullmatch(given.strip()) if isinstance(given, str) else None
    if match is None:
        raise InvalidInput(
            f"{of} is {shown(given)}, which is no percentage; write a text of a number >= 0 and a "
            'percent sign, such as "3%" or "0.5%".'
        )
    # not divided by 100 in floating point, so that 7% is exactly what Python reads as 0.07
    fraction = float(f"{match[1]}e-2")
    if fraction > 1:
        raise InvalidInput(f'{of} is {shown(given)}; give at most "100%".')
    return fraction


def percent_text(fraction: float) -> str:
    """A fraction as a percentage, with up to 6 digits."""
    return f"{100 * fraction:.6g}%"
