"""MkDocs hook: the page of the ``gdn`` command, written from the command itself."""

from __future__ import annotations

import inspect
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from gdn_ops.tuner.cli.application import COMMANDS, app

PLACE = "reference/cli.md"
EXAMPLES = "Examples:"


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the page."""
    files.append(File.generated(config, PLACE, content=page()))
    return files


def page() -> str:
    """The whole page as Markdown."""
    group: Any = typer.main.get_command(app)
    parts = ["# The gdn command", group.help, _parameters("gdn", group, "option")]
    for name in COMMANDS:
        parts += _command(name, group.commands[name])
    return "\n\n".join(part for part in parts if part) + "\n"


def _command(name: str, command: Any) -> list[str]:
    text, _, examples = inspect.cleandoc(command.help).partition(EXAMPLES)
    lines = [line.strip() for line in examples.splitlines() if line.strip()]
    return [
        f"## gdn {name}",
        text.strip(),
        "\n".join(["```text", *lines, "```"]) if lines else "",
        _parameters(name, command, "argument"),
        _parameters(name, command, "option"),
    ]


def _parameters(name: str, command: Any, kind: str) -> str:
    """The parameters of a kind as a table of what the help page says of them."""
    context = command.make_context(name, [], resilient_parsing=True)
    of_kind = [p for p in command.params if p.param_type_name == kind]
    records = [record for p in of_kind if (record := p.get_help_record(context))]
    if not records:
        return ""
    rows = [f"| `{_cell(usage)}` | {_cell(meaning)} |" for usage, meaning in records]
    return "\n".join([f"| {kind} | meaning |", "| --- | --- |", *rows])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
