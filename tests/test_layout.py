"""The house: which folder may import which, one module object each, specs beside templates."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import defaultdict
from functools import cache
from importlib.resources import files
from pathlib import Path

import pytest

from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.plans import PLANS

ROOT = Path(__file__).parent.parent
LANGUAGES = ("triton", "gluon", "torch")
ROOMS = ("templates", "codegen", "gdn_ops", "tuner")
FORBIDDEN = {
    "templates": {"torch", "triton", "jinja2", "optuna", "sqlalchemy", "rich", "typer"},
    "codegen": {"torch", "optuna", "sqlalchemy", "alembic", "rich", "typer"},
    "gdn_ops": {"optuna", "sqlalchemy", "alembic", "rich", "typer"},
    "tuner": set(),
}
CIRCULAR: dict[str, set[tuple[str, str]]] = {
    "codegen": set(),
    # `explain` takes a call's arguments, which the ops turn into a problem
    "gdn_ops": {("dispatch", "ops"), ("ops", "dispatch")},
    "tuner": set(),
}
"""Imports between folders of a room that form a circle and are tolerated; see the test."""


def _files(room: str) -> list[Path]:
    return [p for p in (ROOT / room).rglob("*.py") if not p.is_symlink() and _inside(p, room)]


def _inside(path: Path, room: str) -> bool:
    """Whether a file is the room's own, not reached through one of the links in gdn_ops."""
    return path.resolve().is_relative_to((ROOT / room).resolve()) and not any(
        parent.is_symlink() for parent in path.parents if parent.is_relative_to(ROOT)
    )


@cache
def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module} | {f"{node.module}.{a.name}" for a in node.names}
    return found


def _unit(module: str, room: str) -> str | None:
    """The folder of a room that a module is in, or the module itself if it is in none."""
    package = "gdn_ops" if room == "gdn_ops" else f"gdn_ops.{room}"
    if _room(module) != room or module == package:
        return None
    name = module.removeprefix(f"{package}.").split(".")[0]
    return name if (ROOT / room / name).is_dir() or (ROOT / room / f"{name}.py").exists() else None


def _folder_graph(room: str) -> dict[str, set[str]]:
    """By folder of a room, or module beside them, the other ones that it imports."""
    graph: dict[str, set[str]] = defaultdict(set)
    for path in _files(room):
        own = path.relative_to(ROOT / room).with_suffix("").parts[0]
        if own != "__init__":
            units = {_unit(module, room) for module in _imports(path)}
            graph[own] |= {unit for unit in units if unit not in (None, own)}
    return graph


def _module_graph(room: str) -> dict[str, set[str]]:
    """By module of a room the other ones that it imports, wherever in the file it does.

    A package's ``__init__`` is left out: it and a module of the package may name each other.
    """
    package = "gdn_ops" if room == "gdn_ops" else f"gdn_ops.{room}"
    modules = {
        ".".join((package, *path.relative_to(ROOT / room).with_suffix("").parts)): path
        for path in _files(room)
        if path.name != "__init__.py"
    }
    return {name: (_imports(path) & modules.keys()) - {name} for name, path in modules.items()}


def _circular(graph: dict[str, set[str]]) -> set[tuple[str, str]]:
    """The imports of a graph that are part of a circle."""
    return {
        (name, other)
        for name, others in graph.items()
        for other in others
        if name in _reachable(graph, other)
    }


def _reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        fresh = graph.get(waiting.pop(), set()) - found
        found |= fresh
        waiting += fresh
    return found


def _room(module: str) -> str | None:
    parts = module.split(".")
    if parts[0] != "gdn_ops":
        return None
    return parts[1] if len(parts) > 1 and parts[1] in ROOMS else "gdn_ops"


@pytest.mark.parametrize("room", ROOMS)
def test_imports_run_one_way(room: str) -> None:
    allowed = set(ROOMS[: ROOMS.index(room) + 1])
    for path in _files(room):
        for module in _imports(path):
            assert module.split(".")[0] not in ("codegen", "templates", "tuner"), (path, module)
            assert module.split(".")[0] not in FORBIDDEN[room], (path, module)
            # `from gdn_ops import x` in a lower room would load the upper one
            target = _room(module)
            if module == "gdn_ops._version" or (room == "codegen" and module == "gdn_ops"):
                continue
            assert target is None or target in allowed, f"{path} imports {module}"


@pytest.mark.parametrize("room", ["codegen", "gdn_ops", "tuner"])
def test_folders_of_a_room_do_not_import_each_other_in_a_circle(room: str) -> None:
    graph = _folder_graph(room)
    assert any(graph.values())
    assert _circular(graph) == CIRCULAR[room]


@pytest.mark.parametrize("room", ["codegen", "gdn_ops", "tuner"])
def test_modules_do_not_import_each_other_in_a_circle(room: str) -> None:
    graph = _module_graph(room)
    assert any(graph.values())
    assert _circular(graph) == set()


def test_each_template_is_used_and_each_spec_has_its_template() -> None:
    folder = files("gdn_ops.templates")
    templates = {
        f"{language}/{file.name.removesuffix('.py.jinja')}"
        for language in LANGUAGES
        for file in (folder / language).iterdir()
    }
    assert templates == {spec.template for spec in KERNELS.values()}
    assert {p.stem for p in (ROOT / "codegen/kernels").glob("*.py")} == {*KERNELS, "__init__"}


def test_shared_axes_are_interface_axes_of_every_plan_that_uses_the_stage() -> None:
    from tests.problems import FORWARD

    for plan in PLANS.values():
        names = {axis.name for axis in plan.axes}
        for spec in plan.specs(FORWARD):
            assert set(spec.shared) <= names, (plan.name, spec.name)


def test_import_is_light() -> None:
    script = (
        "import sys, torch; before = set(sys.modules); import gdn_ops; "
        "heavy = {'optuna', 'sqlalchemy', 'rich', 'triton', 'jinja2', 'typer'}; "
        "heavy |= {'gdn_ops.providers', 'gdn_ops.codegen.providers'}; "
        "print(sorted(heavy & (set(sys.modules) - before)))"
    )
    out = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert out.stdout.strip() == "[]"


def test_only_one_module_reads_the_environment() -> None:
    readers = {
        path.relative_to(ROOT).as_posix()
        for room in ("codegen", "gdn_ops")
        for path in _files(room)
        if "os.environ" in path.read_text() or "getenv" in path.read_text()
    }
    assert readers == {"gdn_ops/results_path.py"}


def test_no_block_pointers() -> None:
    for path in (ROOT / "templates").rglob("*.jinja"):
        assert "make_block_ptr" not in path.read_text(), path
