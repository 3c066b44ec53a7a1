"""The wheel of the winners that ship, exported once for all tests of this folder."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from gdn_ops.results_path import shipped_database
from gdn_ops.tuner.export.folder import write_all
from gdn_ops.tuner.export.formats import wheel
from gdn_ops.tuner.export.selection import described


@pytest.fixture(scope="session")
def shipped_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "dist"
    (path,) = write_all(folder, wheel.exported(described([shipped_database()])))
    return path


@pytest.fixture(scope="session")
def members(shipped_wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(shipped_wheel) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}
