"""States: what a check found for one row, and the exit code that follows."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

OK, FAILED, USAGE, SKIPPED = 0, 1, 2, 3
"""Exit codes of ``gdn check``: nothing is worse; something is; a wrong command line or file; under
``--strict``, something could not be compared."""


class State(str, Enum):
    """What a check found for one row. The value is the word that reports print."""

    UNCHANGED = "unchanged"
    """Shown without measuring: the code, the launch configuration and the compiler are the same."""
    PASSED = "passed"
    """Shown to be at most the threshold slower."""
    IMPROVED = "improved"
    """Shown to be faster, by more than the threshold; or compiled code that needs less."""
    REGRESSED = "regressed"
    """Shown to be slower, by more than the threshold; or compiled code that needs more."""
    INCONCLUSIVE = "inconclusive"
    """Neither was shown with the pairs that were taken."""
    NEW = "new"
    """Only the head has it."""
    REMOVED = "removed"
    """Only the base has it."""
    WRONG = "wrong"
    """The head's results fail the accuracy gate."""
    CRASHED = "crashed"
    """A side did not compile, crashed, ran out of memory or hung."""
    ENVIRONMENT = "environment changed"
    """The two sides cannot be compared: another device, driver or compiler, or none at all."""

    @property
    def failing(self) -> bool:
        return self in (State.REGRESSED, State.WRONG, State.CRASHED)


APART = (State.ENVIRONMENT, State.REMOVED)
"""States of what could not be compared; a new row has nothing to be compared with."""


def exit_code(states: Iterable[State], *, strict: bool = False) -> int:
    """The exit code for the states of a report's rows that no exemption covers."""
    found = set(states)
    if any(state.failing for state in found):
        return FAILED
    return SKIPPED if strict and found & {*APART} else OK
