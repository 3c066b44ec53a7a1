"""The versions of Triton that are tested are those that the package allows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.triton_versions import ROOT, VERSIONS, environment, found, main


def test_every_minor_release_that_is_allowed_is_tested() -> None:
    allowed = re.search(r'"triton>=3\.(\d+),<3\.(\d+);', (ROOT / "pyproject.toml").read_text())
    assert allowed is not None
    minors = [int(version.split(".")[1]) for version in VERSIONS]
    assert minors == list(range(int(allowed[1]), int(allowed[2])))


def test_the_pinned_version_is_one_of_them() -> None:
    pinned = re.search(r"^triton==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    assert pinned[1] in VERSIONS


def test_a_folder_in_front_is_what_python_imports(tmp_path: Path) -> None:
    (tmp_path / "triton.py").write_text('__version__ = "3.0.0"\n')
    assert found(environment(tmp_path)) == "3.0.0"


def test_other_versions_are_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["2.1.0"])
    assert "unsupported: 2.1.0; name some of 3.6.0" in capsys.readouterr().err
