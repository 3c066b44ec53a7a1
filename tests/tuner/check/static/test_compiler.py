"""The compiler's versions, and folders that hold another Triton."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

import pytest

from gdn_ops.codegen.errors import InvalidInput
from gdn_ops.tuner.check.static.compiler import (
    BEFORE,
    SINCE,
    Compiler,
    compilers,
    other_triton,
)
from gdn_ops.tuner.check.static.shipping import GPUS
from gdn_ops.tuner.workers.worker_pool import WorkerPool
from tests.triton_versions import ROOT, VERSIONS


def site(folder: Path, text: str) -> Path:
    (folder / "triton").mkdir(parents=True)
    (folder / "triton" / "__init__.py").write_text(text)
    return folder


def test_the_supported_versions_are_those_of_the_package() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    found = re.search(r'"triton>=(\d+)\.(\d+),<(\d+)\.(\d+);', text)
    assert found is not None
    assert (*SINCE, *BEFORE) == tuple(map(int, found.groups()))


@pytest.mark.parametrize("given", VERSIONS)
def test_a_supported_triton(tmp_path: Path, given: str) -> None:
    found = other_triton(site(tmp_path, f'"""isort"""\n__version__ = "{given}"\nimport os\n'))
    assert found.version == given
    assert found.environment["PYTHONPATH"].split(":")[0] == str(tmp_path)


@pytest.mark.parametrize("given", ["3.5.1", "3.10.0", "2.3.0", "4.0.0.post1"])
def test_an_unsupported_triton_is_refused(tmp_path: Path, given: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        other_triton(site(tmp_path, f"__version__ = '{given}'\n"))
    assert str(caught.value) == (
        f"--triton {tmp_path}: it holds Triton {given}; supported are 3.6 and newer, before 3.10."
    )


def test_a_folder_without_triton_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InvalidInput, match="there is no package `triton` in this folder"):
            other_triton(folder)
    with pytest.raises(InvalidInput, match="names no version"):
        other_triton(site(tmp_path, "import os\n"))


def test_the_versions_of_the_installed_compiler() -> None:
    with WorkerPool(1, threads=1) as pool:
        found = compilers(pool, GPUS)
        assert {compiler.triton for compiler in found.values()} == {version("triton")}
        assert re.fullmatch(r"1\d\.\d+\.\d+", found["sm_90"].ptxas)
        assert found["gfx942"].ptxas == ""
        assert str(found["gfx942"]) == f"Triton {version('triton')}"
    assert str(Compiler(triton="3.7.1", ptxas="12.8")) == "Triton 3.7.1 with ptxas 12.8"


def test_a_triton_that_cannot_be_imported_is_refused(tmp_path: Path) -> None:
    other = other_triton(site(tmp_path, "__version__ = '3.8.0'\nimport nothing_like_this\n"))
    with (
        WorkerPool(1, threads=1, env=other.environment) as pool,
        pytest.raises(InvalidInput, match=r"cannot be used: .*nothing_like_this.*install it"),
    ):
        compilers(pool, ["gfx942"], expected=other)
