"""Rendered modules: what is imported is what was rendered, whatever the folder holds."""

from pathlib import Path

import pytest

from gdn_ops.codegen.module_cache import load_module
from gdn_ops.errors import LaunchError


def test_a_tampered_file_is_written_anew(tmp_path: Path) -> None:
    source = "def f():\n    return 'rendered'\n"
    assert load_module("tamper", source, tmp_path / "a").f() == "rendered"
    (file,) = (tmp_path / "a").iterdir()
    other = tmp_path / "b" / file.name
    other.parent.mkdir()
    other.write_text("raise SystemExit('tampered')")
    import sys

    sys.modules.pop(f"gdn_rendered.{file.stem}")
    assert load_module("tamper", source, tmp_path / "b").f() == "rendered"
    assert other.read_text() == source


def test_the_folder_is_the_users_own(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    load_module("own", "x = 1\n", folder)
    assert folder.stat().st_mode & 0o777 == 0o700


def test_an_unwritable_folder_is_an_error_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LaunchError, match="set GDN_CACHE_DIR"):
        load_module("nowhere", "x = 2\n", tmp_path / "file" / "cache")


def test_a_write_that_fails_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("gdn_ops.codegen.module_cache.os.replace", refuse)
    with pytest.raises(LaunchError, match="no space left on device"):
        load_module("halfway", "x = 3\n", tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())
