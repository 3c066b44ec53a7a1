"""Where the databases and the cache are."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gdn_ops.errors import InvalidInput
from gdn_ops.results_path import (
    cache_folder,
    databases,
    shipped_database,
    switch,
    user_database,
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("GDN_RESULTS_DB", "GDN_CACHE_DIR", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("platform", "data", "cache"),
    [
        ("linux", ".local/share/gdn-ops", ".cache/gdn-ops"),
        ("darwin", "Library/Application Support/gdn-ops", "Library/Caches/gdn-ops"),
        ("win32", "AppData/Local/gdn-ops", "AppData/Local/gdn-ops/cache"),
    ],
)
def test_each_platform_has_its_folders(
    home: Path, monkeypatch: pytest.MonkeyPatch, platform: str, data: str, cache: str
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    assert user_database() == home / data / "results.db"
    assert cache_folder() == home / cache


def test_environment_variables_override_the_folders(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", str(home / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/invalid")
    assert user_database() == home / "data" / "gdn-ops" / "results.db"
    assert cache_folder() == home / ".cache" / "gdn-ops"
    monkeypatch.setenv("GDN_RESULTS_DB", str(home / "mine.db"))
    monkeypatch.setenv("GDN_CACHE_DIR", str(home / "cache"))
    assert (user_database(), cache_folder()) == (home / "mine.db", home / "cache")
    monkeypatch.setenv("GDN_RESULTS_DB", "")
    assert user_database().name == "results.db"


def test_a_relative_path_is_made_absolute(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    monkeypatch.setenv("GDN_RESULTS_DB", "mine.db")
    assert user_database() == home / "mine.db"


def test_the_users_database_is_read_first_and_each_file_once(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert databases() == (user_database(), shipped_database())
    monkeypatch.setenv("GDN_RESULTS_DB", str(shipped_database()))
    assert databases() == (shipped_database(),)


@pytest.mark.parametrize(("value", "on"), [(None, None), ("", None), ("1", True), ("0", False)])
def test_a_switch_is_on_off_or_not_set(
    monkeypatch: pytest.MonkeyPatch, value: str | None, on: bool | None
) -> None:
    if value is not None:
        monkeypatch.setenv("GDN_TEST_SWITCH", value)
    assert switch("GDN_TEST_SWITCH") is on


def test_another_value_of_a_switch_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDN_TEST_SWITCH", "on")
    with pytest.raises(InvalidInput, match="GDN_TEST_SWITCH is 'on'; set it to 1 or 0"):
        switch("GDN_TEST_SWITCH")
