"""The commands of ``gdn`` as Typer has them; one file per command."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from importlib import import_module
from typing import Any

import typer

from gdn_ops._version import __version__

COMMANDS = (
    "tune", "show", "merge", "pull", "explain", "verify", "render", "compile", "predict", "bench",
    "replay", "check", "export", "doctor",
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


class Interrupted(Exception):
    """Ctrl-C in a command. Typer would make a silent exit of a KeyboardInterrupt."""


def _telling_interruptions(command: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(command)
    def run(*arguments: Any, **options: Any) -> Any:
        try:
            return command(*arguments, **options)
        except KeyboardInterrupt as error:
            raise Interrupted from error

    return run


for _name in COMMANDS:
    _command = getattr(import_module(f"{__package__}.{_name}"), _name)
    app.command(_name)(_telling_interruptions(_command))
