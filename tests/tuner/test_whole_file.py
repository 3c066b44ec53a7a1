"""Files are written completely or not at all."""

from __future__ import annotations

import fcntl
import os
import signal
from pathlib import Path

import pytest

from gdn_ops.tuner.whole_file import alone_in, write_whole


def test_a_file_is_replaced_and_a_link_stays(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    write_whole(tmp_path / "link", "né\udcff")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == "né\\udcff".encode()
    (tmp_path / "usual").touch()
    modes = {os.stat(tmp_path / name).st_mode for name in ("real", "usual")}
    assert len(modes) == 1 and sorted(os.listdir(tmp_path)) == ["link", "real", "usual"]


def test_what_cannot_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kept").write_text("old")

    def full(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "kept", b"new")
    assert (tmp_path / "kept").read_text() == "old" and os.listdir(tmp_path) == ["kept"]
    with pytest.raises(OSError, match="missing"):
        write_whole(tmp_path / "missing" / "file", b"")


def test_a_process_that_was_forked_meanwhile_does_not_keep_the_lock(tmp_path: Path) -> None:
    with alone_in(tmp_path):
        child = os.fork()
        if child == 0:
            signal.pause()
    try:
        number = os.open(tmp_path, os.O_RDONLY)
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(number)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
