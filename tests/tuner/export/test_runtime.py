"""The run-time part that a library copies imports torch, triton and the standard library only."""

from __future__ import annotations

import ast
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from gdn_ops.tuner.export.runtime import LEFT_OUT, renamed, runtime, runtime_files

PACKAGE = "gdn_ops_lib_h200"
ALLOWED = {"torch", "triton", PACKAGE, *sys.stdlib_module_names}
COPY = runtime(PACKAGE)
MODULES = {name: ast.parse(text) for name, text in COPY.items() if name.endswith(".py")}


def _imported(tree: ast.AST) -> set[str]:
    """Every module that a tree imports, also inside functions."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None and not node.level, "imports are absolute"
            found.add(node.module)
    return found


def _in_functions(tree: ast.AST) -> set[str]:
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
    return set().union(*map(_imported, functions)) if functions else set()


def test_the_copy_has_the_parts_that_run() -> None:
    for name in ("__init__", "ops/library", "serving/rule", "dispatch/winners", "codegen/problem"):
        assert f"{name}.py" in COPY
    assert "py.typed" in COPY and "codegen/render.py" not in COPY


@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_copied_module_imports_nothing_else(name: str) -> None:
    for module in _imported(MODULES[name]):
        assert module.split(".")[0] in ALLOWED, f"{name} imports {module}"


def _path(module: str) -> str:
    return module.removeprefix(PACKAGE).lstrip(".").replace(".", "/")


def test_what_is_left_out_is_imported_only_where_it_is_needed() -> None:
    """A module that is left out may be imported inside a function, never when loading."""
    for name, tree in MODULES.items():
        own = {m for m in _imported(tree) if m.split(".")[0] == PACKAGE and m != PACKAGE}
        left_out = {
            m for m in own if f"{_path(m)}.py" not in COPY and f"{_path(m)}/__init__.py" not in COPY
        }
        assert left_out <= _in_functions(tree), (name, left_out)
        for module in left_out:
            assert any(
                _path(module) == out.removesuffix(".py") or _path(module).startswith(f"{out}/")
                for out in LEFT_OUT
            ), f"{name} imports {module}, which does not exist"


def test_no_reason_to_leave_out_is_of_something_that_is_gone() -> None:
    root = Path(str(files("gdn_ops")))
    for name, reason in LEFT_OUT.items():
        assert (root / name).exists(), name
        assert reason
    assert {path.suffix for _, path in runtime_files()} == {".py", ".typed"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("from gdn_ops.codegen.axis import Axis", "from lib.codegen.axis import Axis"),
        ("import gdn_ops", "import lib"),
        ("torch.ops.gdn_ops.rule(q)", "torch.ops.lib.rule(q)"),
        ('custom_op("gdn_ops::rule")', 'custom_op("lib::rule")'),
        ('import_module(f"gdn_ops.{name}")', 'import_module(f"lib.{name}")'),
        ('files("gdn_ops") / "results.db"', 'files("lib") / "results.db"'),
        ("use gdn_ops.using('torch')", "use lib.using('torch')"),
        ('"gdn_ops_mode"', '"gdn_ops_mode"'),
        ("use_gdn_ops(model)", "use_gdn_ops(model)"),
        ("my-gdn_ops", "my-gdn_ops"),
        ("install gdn-ops", "install gdn-ops"),
    ],
)
def test_the_package_is_renamed_as_a_word(before: str, after: str) -> None:
    assert renamed(before, "lib") == after


def test_nothing_in_the_copy_names_the_package_of_gdn_ops() -> None:
    for name, tree in MODULES.items():
        for node in ast.walk(tree):
            text = node.value if isinstance(node, ast.Constant) else getattr(node, "attr", "")
            text = node.id if isinstance(node, ast.Name) else text
            if isinstance(text, str):
                words = text.replace(".", " ").replace(":", " ").replace("/", " ").split()
                assert "gdn_ops" not in words, (name, text)
