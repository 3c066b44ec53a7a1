"""The wheel of the winners that ship, exported once for all tests of this folder."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from gdn_ops.results_path import shipped_database
from gdn_ops.tuner.export.folder import write_all
from gdn_ops.tuner.export.formats import hf, wheel
from gdn_ops.tuner.export.selection import described
from tests.tiny_library import tiny_database


@pytest.fixture(scope="session")
def shipped_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "dist"
    (path,) = write_all(folder, wheel.exported(described([shipped_database()])))
    return path


@pytest.fixture(scope="session")
def members(shipped_wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(shipped_wheel) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of a library for tiny models; nothing may write to it."""
    return tiny_database(tmp_path_factory.mktemp("tiny") / "tiny.db")


@pytest.fixture(scope="session")
def kernel(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of its kernel for the Hub; nothing may write to it."""
    folder = tmp_path_factory.mktemp("export") / "hf"
    write_all(folder, hf.exported(described([tiny])))
    (kernel,) = folder.iterdir()
    return kernel
