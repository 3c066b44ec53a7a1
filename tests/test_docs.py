"""The documentation tells the truth: paths, commands, and the code of the tutorials."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

from gdn_ops.codegen import render
from gdn_ops.codegen.targets import target_named
from gdn_ops.tuner.cli.application import app
from tests.problems import FORWARD

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").rglob("*.md"))
TUTORIALS = ROOT / "docs" / "tutorials"
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```', flags=re.M | re.S)
TREE = re.compile(r"`((?:templates|codegen|gdn_ops|tuner|tests|bench|docs)/[\w./*-]+)`")
NEW = {
    "templates/triton/attention.py.jinja",
    "codegen/kernels/attention.py",
    "tests/codegen/kernels/test_attention.py",
    "codegen/plans/quadratic.py",
}
"""Files that a reader of a tutorial writes."""


def blocks(page: str) -> list[tuple[str, str, str]]:
    """Language, file and text of every block of a tutorial."""
    return BLOCK.findall((TUTORIALS / page).read_text())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_files_that_a_page_names_exist(page: Path) -> None:
    for name in TREE.findall(page.read_text()):
        assert name in NEW or (ROOT / name).exists(), name


def test_the_tests_that_a_page_names_exist() -> None:
    named = [
        found
        for page in PAGES
        for found in re.findall(r"`(tests/[\w/]+\.py)::(\w+)", page.read_text())
    ]
    assert len(named) >= 20
    for path, name in named:
        assert f"def {name}(" in (ROOT / path).read_text(), (path, name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_of_a_page_exist(page: Path) -> None:
    group: Any = typer.main.get_command(app)
    lines = [
        line.removeprefix("$ ")
        for language, _, text in BLOCK.findall(page.read_text())
        if language in ("sh", "console")
        for line in text.splitlines()
        if line.startswith("$ gdn " if language == "console" else "gdn ")
    ]
    for line in lines:
        name, *words = shlex.split(line)[1:]
        command = group.commands[name]
        known = {o for p in command.params for o in (*p.opts, *p.secondary_opts)} | {"--help"}
        assert {word for word in words if word.startswith("--")} <= known, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_python_of_a_page_runs(page: Path) -> None:
    scope: dict[str, object] = {}
    for language, title, text in BLOCK.findall(page.read_text()):
        if language == "python" and not title:
            exec(compile(text, page.name, "exec"), scope)


@pytest.mark.parametrize("page", ["add-a-kernel.md", "add-an-axis.md"])
def test_a_change_applies_to_the_file_it_names(page: str) -> None:
    changes = [(title, text) for language, title, text in blocks(page) if language == "diff"]
    assert changes
    for title, text in changes:
        lines = text.splitlines()
        old, new = (
            "".join(f"{line[1:]}\n" for line in lines if not line.startswith(sign)) for sign in "+-"
        )
        # or it is applied already, by a reader who follows the page
        found = (ROOT / title).read_text()
        assert old in found or new in found, (title, old)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The files of the tutorial on kernels; its template and spec are there to import."""
    written = {title: text for language, title, text in blocks("add-a-kernel.md") if title in NEW}
    stored = render._source
    environment = render._environment.__wrapped__()
    environment.loader.load_func = lambda name: written.get(f"templates/{name}") or stored(name)
    monkeypatch.setattr(render, "_environment", lambda: environment)
    module = ModuleType("gdn_ops.codegen.kernels.attention")
    exec(written["codegen/kernels/attention.py"], module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return written


def test_the_kernel_of_the_tutorial_passes_its_own_test(
    kernel: dict[str, str], tmp_path: Path
) -> None:
    scope: dict[str, Any] = {}
    exec(kernel["tests/codegen/kernels/test_attention.py"], scope)
    scope["test_ragged_lengths"](17, tmp_path)
    scope["test_head_dims"](60, 100, tmp_path)
    scope["test_value_heads_share_a_query_head"](2, 4, tmp_path)
    scope["test_without_a_final_state"](tmp_path)


def test_the_plan_of_the_tutorial_refuses_what_it_says(kernel: dict[str, str]) -> None:
    scope: dict[str, Any] = {}
    exec(kernel["codegen/plans/quadratic.py"], scope)
    said = scope["PLAN"].reasons(FORWARD, {"BT": 64}, target_named("h200"))
    assert f"plan quadratic computes linear attention, not {FORWARD.rule.name}" in said
