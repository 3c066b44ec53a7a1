"""The command ``gdn``: parses and prints. What takes time to import is imported when it runs."""

from __future__ import annotations

import errno
import gc
import os
import sys
from contextlib import suppress

from gdn_ops.tuner.cli.exit_codes import FAILURE, INTERRUPTED, USAGE, exit_code_of

NEW_OBJECTS = 50_000
"""How many objects are made between two searches for unused cycles."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command and exit; an error prints one line instead of a traceback.

    Exit codes: 0 for success, 1 for a failure at run time, 2 for a wrong command line or input, to
    which a results database belongs that cannot be used, 130 for an interruption.
    """
    # A command makes many objects that it keeps, and few cycles: Python's default, to look for them
    # after each 700 new objects, costs a tenth of a command's time.
    gc.set_threshold(NEW_OBJECTS)
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code.

    It is 0 if who reads standard output leaves early, as in ``gdn show | head``.
    """
    try:
        code = _run(arguments or sys.argv[1:] or ["--help"])
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        _write_no_more()
        return 0
    except OSError as error:
        # the disk of standard output is full; other files are written where their errors are named
        if error.errno != errno.ENOSPC or error.filename is not None:
            raise
        _write_no_more()
        sys.stderr.write(f"gdn: cannot write the output: {error.strerror}; free space there.\n")
        return FAILURE
    except SystemExit as error:
        # what click makes of a closed pipe
        if not isinstance(error.__context__, BrokenPipeError):
            raise
        _write_no_more()
        return 0
    except KeyboardInterrupt:  # while modules are imported, of which any may be unfinished
        sys.stderr.write("gdn: interrupted before anything was done.\n")
        return INTERRUPTED


def _write_no_more() -> None:
    """Let what is still buffered go nowhere, so that Python finds no closed pipe at its exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(arguments: list[str]) -> int:
    import typer

    from gdn_ops.codegen.errors import GdnError
    from gdn_ops.tuner.cli.answer import Ended
    from gdn_ops.tuner.cli.application import Interrupted, app
    from gdn_ops.tuner.report import console
    from gdn_ops.tuner.report.progress import first_line

    def ended(message: str, code: int) -> int:
        console.fail(message)
        if "--json" in arguments:
            from gdn_ops.tuner.report.json_document import error_document

            with suppress(console.ReaderLeft):
                console.give(error_document(message, code))
        return code

    try:
        code = app(arguments, prog_name="gdn", standalone_mode=False)
    except GdnError as error:
        return ended(str(error), exit_code_of(error))
    except Ended as error:
        return ended(str(error), error.code)
    except typer.Exit as error:
        return error.exit_code
    except (Interrupted, KeyboardInterrupt, typer.Abort):
        return ended("interrupted; nothing that was stored is lost.", INTERRUPTED)
    except console.ReaderLeft as error:
        raise BrokenPipeError from error
    except Exception as error:
        # a wrong command line: its errors have this method in every version of typer and click
        if not hasattr(error, "format_message"):
            raise
        said = first_line(error.format_message(), width=300).rstrip(".")
        context = getattr(error, "ctx", None)
        path = "gdn" if context is None else context.command_path
        message = f"{said}. See `{path} --help`."
        return ended(message, int(getattr(error, "exit_code", USAGE)))
    return code if isinstance(code, int) else 0
