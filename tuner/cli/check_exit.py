"""How ``gdn check`` exits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from gdn_ops.codegen.errors import GdnError
from gdn_ops.tuner.cli.exit_codes import INTERRUPTED, USAGE

if TYPE_CHECKING:
    from gdn_ops.tuner.check.outcome import Outcome


@contextmanager
def ending_with_usage() -> Iterator[None]:
    """Inside the block, what ends the check is no finding about the head, and exits with 2 or 130.

    Code 1 is for a head that is worse.
    """
    from gdn_ops.tuner.report import console

    try:
        yield
    except GdnError as error:
        console.fail(str(error))
        raise typer.Exit(USAGE) from error
    except OSError as error:
        console.fail(f"the check cannot go on: {error}; check the current folder and the disk.")
        raise typer.Exit(USAGE) from error
    except KeyboardInterrupt as error:
        console.fail("interrupted before anything was compared.")
        raise typer.Exit(INTERRUPTED) from error


def exit_code(outcome: Outcome, failures: Sequence[str], interrupted: bool) -> int:
    """Print what could not be written, and return the exit code."""
    from gdn_ops.tuner.check.states import FAILED
    from gdn_ops.tuner.report import console

    for failure in failures:
        console.fail(failure)
    code = outcome.exit_code()
    if code == FAILED:
        return code
    if outcome.interrupted or interrupted:
        return INTERRUPTED
    return USAGE if failures else code
