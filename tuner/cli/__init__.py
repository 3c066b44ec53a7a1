"""The command ``gdn``: parses and prints; one file per command."""

from __future__ import annotations

import os
import sys
from importlib import import_module

import typer

from gdn_ops._version import __version__
from gdn_ops.codegen.errors import GdnError, InvalidConfig, InvalidInput, UnknownName
from gdn_ops.tuner.cli.exit_codes import FAILURE, INTERRUPTED, USAGE

COMMANDS = (
    "tune", "show", "merge", "explain", "verify", "render", "compile", "predict", "bench", "replay",
    "check", "export", "doctor",
)  # fmt: skip
"""Commands in the order of the help page; each is a function in the file of the same name."""


app = typer.Typer(
    name="gdn",
    help="Tune, inspect and compile kernels of the gated delta rule.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from gdn_ops.tuner.report import console

        console.say(f"gdn-ops {__version__}")
        raise typer.Exit


@app.callback()
def gdn(
    version: bool = typer.Option(
        False,
        "--version",
        callback=_print_version,
        is_eager=True,
        help="Print the version and exit.",
    ),
) -> None:
    """Tune, inspect and compile kernels of the gated delta rule."""


for _name in COMMANDS:
    app.command(_name)(getattr(import_module(f"{__name__}.{_name}"), _name))


def main(arguments: list[str] | None = None) -> None:
    """Run the command and exit; an error prints one line instead of a traceback.

    Exit codes: 0 for success, 1 for a failure at run time, 2 for a wrong command line or input, 130
    for an interruption.
    """
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    from gdn_ops.tuner.report import console
    from gdn_ops.tuner.report.progress import first_line

    try:
        code = app(arguments or sys.argv[1:] or ["--help"], prog_name="gdn", standalone_mode=False)
    except (InvalidInput, InvalidConfig, UnknownName) as error:
        console.fail(str(error))
        return USAGE
    except GdnError as error:
        console.fail(str(error))
        return FAILURE
    except typer.Exit as error:
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        console.fail("interrupted; every recorded trial is kept.")
        return INTERRUPTED
    except console.ReaderLeft:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        # a wrong command line: its errors have this method in every version of typer and click
        if not hasattr(error, "format_message"):
            raise
        console.fail(f"{first_line(error.format_message(), width=300)} See `gdn --help`.")
        return int(getattr(error, "exit_code", USAGE))
    return code if isinstance(code, int) else 0
