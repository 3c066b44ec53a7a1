"""Exit codes of every command; ``gdn check`` has more of its own, in ``check.states``."""

from __future__ import annotations

from gdn_ops.codegen.errors import (
    GdnError,
    InvalidConfig,
    InvalidInput,
    ResultsBusy,
    ResultsError,
    UnknownName,
)

FAILURE, USAGE, INTERRUPTED = 1, 2, 130
"""A failure at run time; a wrong command line or input; ended by Ctrl-C or SIGTERM."""


def exit_code_of(error: GdnError) -> int:
    """The exit code of a command that an error ends.

    A database that cannot be used is wrong input; one that is only locked or away is not.
    """
    if isinstance(error, ResultsBusy):
        return FAILURE
    wrong_input = isinstance(error, InvalidInput | InvalidConfig | UnknownName | ResultsError)
    return USAGE if wrong_input else FAILURE
