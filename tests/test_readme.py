"""The README and the help pages tell the truth: commands, options, Python, links."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from gdn_ops.tuner.cli.application import COMMANDS, app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, flags=re.M | re.S)


def _commands_shown() -> list[str]:
    """Every line of the README's shell blocks and tables that calls ``gdn``."""
    lines = [x for kind, text in BLOCKS if kind in ("", "sh", "bash") for x in text.splitlines()]
    shown = [x.removeprefix("$ ").strip() for x in lines if x.removeprefix("$ ").startswith("gdn ")]
    return shown + re.findall(r"`(gdn [^`]+)`", README)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_an_example_and_a_line_in_the_readme(name: str) -> None:
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    assert f"gdn {name}" in command.help, "no example in the help"
    assert any(x.split()[1] == name for x in _commands_shown()), "no line in the README"


def test_the_readmes_commands_and_options_exist() -> None:
    group = typer.main.get_command(app)
    for line in _commands_shown():
        name, *words = shlex.split(line.split("#")[0].split("|")[0])[1:]
        if name.startswith("-"):
            continue
        command = group.commands[name]  # type: ignore[attr-defined]
        known = {o for p in command.params for o in (*p.opts, *p.secondary_opts)} | {"--help"}
        assert {w.split("=")[0] for w in words if w.startswith("--")} <= known, line


def test_the_help_examples_parse() -> None:
    group = typer.main.get_command(app)
    for name in COMMANDS:
        command = group.commands[name]  # type: ignore[attr-defined]
        for line in re.findall(rf"^\s*(gdn {name}.*)$", command.help, flags=re.M):
            command.make_context(name, shlex.split(line)[2:])


def test_the_readmes_python_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    scope: dict[str, object] = {}
    blocks = [text for kind, text in BLOCKS if kind == "python"]
    assert blocks
    for text in blocks:
        exec(compile(text, "README.md", "exec"), scope)


def test_the_readmes_files_exist() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target
