"""How ``gdn check`` exits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gdn_ops.codegen.errors import GdnError
from gdn_ops.tuner.cli.answer import Ended
from gdn_ops.tuner.cli.exit_codes import INTERRUPTED, USAGE

if TYPE_CHECKING:
    from gdn_ops.tuner.check.outcome import Outcome


@contextmanager
def ending_with_usage() -> Iterator[None]:
    """Inside the block, what ends the check is no finding about the head, and exits with 2 or 130.

    Code 1 is for a head that is worse.
    """
    try:
        yield
    except GdnError as error:
        raise Ended(str(error), USAGE) from error
    except OSError as error:
        message = f"the check cannot go on: {error}; check the current folder and the disk."
        raise Ended(message, USAGE) from error
    except KeyboardInterrupt as error:
        raise Ended("interrupted before anything was compared.", INTERRUPTED) from error


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
