"""The commands of ``gdn`` as Typer has them; one file per command."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from importlib import import_module
from typing import Any

import typer

from gdn_ops._version import __version__
from gdn_ops.tuner.cli.answer import Answer, OutputOptions
from gdn_ops.tuner.cli.shared_options import with_options

COMMANDS = (
    "tune", "show", "merge", "pull", "explain", "verify", "render", "compile", "predict", "bench",
    "replay", "check", "export", "report", "doctor",
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


def _answering(name: str, command: Callable[..., Answer]) -> Callable[..., int]:
    """The command with the option ``--json``; it returns its exit code."""

    @wraps(command)
    def run(*, output: OutputOptions, **options: Any) -> int:
        from gdn_ops.tuner.report import console

        try:
            with console.for_people(on_stderr=output.json):
                answer = command(**options)
                fields = answer.fields() if output.json else {}
        except KeyboardInterrupt as error:
            raise Interrupted from error
        if output.json:
            from gdn_ops.tuner.report.json_document import document

            console.give(document(name, answer.code, fields))
        return answer.code

    return with_options(output=OutputOptions)(run)


for _name in COMMANDS:
    _command = getattr(import_module(f"{__package__}.{_name}"), _name)
    app.command(_name)(_answering(_name, _command))
