"""Sources of another revision: rendered by its own code, and only if they are the baseline's."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from gdn_ops.tuner.check.static.baseline import KernelRecord
from gdn_ops.tuner.check.static.kernel import Kernel
from gdn_ops.tuner.check.static.old_source import base_folder, old_sources
from gdn_ops.tuner.check.static.shipping import PROBLEMS
from gdn_ops.tuner.check.static.today import Today
from tests.triton_versions import ROOT


def recorded(kernel: Kernel, **changes: str) -> KernelRecord:
    record = KernelRecord(
        hash=kernel.hash, arguments=kernel.arguments, config=kernel.config,
        options=kernel.options, figures={},
    )  # fmt: skip
    return replace(record, **changes)


@pytest.fixture(scope="module")
def kernels() -> list[Kernel]:
    problems = {name: PROBLEMS[name] for name in ("decode", "pool")}
    return list(Today.of("sm_90", problems).kernels)


def test_a_folder_renders_the_sources_of_a_baseline(kernels: list[Kernel]) -> None:
    found = old_sources(ROOT, [(recorded(kernel), kernel) for kernel in kernels])
    assert found == [kernel.source for kernel in kernels]


def test_sources_that_the_baseline_was_not_made_of_are_not_taken(kernels: list[Kernel]) -> None:
    kernel = kernels[0]
    records = [
        recorded(kernel, hash="another"),
        recorded(kernel, arguments="another"),
        recorded(kernel, config=f"{kernel.config} axis_of_a_later_version=1"),
        recorded(kernel, config=kernel.config.replace("BV=16", "BV=17")),
        recorded(kernel),
    ]
    found = old_sources(ROOT, [(record, kernel) for record in records])
    assert found == [None, None, None, None, kernel.source]


def test_a_folder_that_renders_nothing_has_no_sources(
    kernels: list[Kernel], tmp_path: Path
) -> None:
    pairs = [(recorded(kernel), kernel) for kernel in kernels]
    # Python would take the installed gdn_ops, which is not the folder's
    assert old_sources(tmp_path, pairs) == [None] * len(pairs)
    (tmp_path / "gdn_ops").mkdir()
    (tmp_path / "gdn_ops" / "__init__.py").write_text("raise SystemExit(3)")
    assert old_sources(tmp_path, pairs) == [None] * len(pairs)
    assert old_sources(tmp_path / "nowhere", pairs) == [None] * len(pairs)


def test_the_base_is_the_last_commit_of_the_baseline(tmp_path: Path) -> None:
    root = tmp_path / "repository"
    root.mkdir()
    settings = ("user.name=test", "user.email=test@example.com", "commit.gpgsign=false")
    git = ["git", "-C", str(root), *(word for s in settings for word in ("-c", s))]
    file, code = root / "sm_90.json", root / "code.py"

    def commit(*words: str) -> None:
        subprocess.run([*git, *words], check=True, capture_output=True)

    commit("init")
    with base_folder(file) as folder:
        assert folder is None
    for text in ("first", "second", "third"):
        code.write_text(text)
        if text != "third":
            file.write_text(text)
        commit("add", "--all")
        commit("commit", "-m", text)
    code.write_text("not committed")
    with base_folder(file) as folder:
        assert folder is not None
        assert (folder / "code.py").read_text() == "second"
    assert not folder.exists()
    assert code.read_text() == "not committed"
    shutil.rmtree(root / ".git")
    with base_folder(file) as folder:
        assert folder is None
