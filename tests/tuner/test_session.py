"""What a session makes sure of before it begins, and what it makes of a job's end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gdn_ops.errors import LaunchError
from gdn_ops.tuner.session import require_room
from gdn_ops.tuner.workers.harness import _status
from gdn_ops.tuner.workers.worker_pool import Job, JobResult

ROOT = Path(__file__).parents[2]


def test_a_cache_folder_is_made_and_left_without_a_trace(tmp_path: Path) -> None:
    for _ in range(2):
        require_room(tmp_path / "cache")
        assert list((tmp_path / "cache").iterdir()) == []


def test_a_folder_that_takes_only_empty_files_is_refused_before_anything_runs(
    tmp_path: Path,
) -> None:
    require_room(tmp_path)  # so that the empty module of an earlier run is there
    script = (
        "import resource, sys; from pathlib import Path\n"
        "from gdn_ops.tuner.session import require_room\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (512, 512))\n"
        "try: require_room(Path(sys.argv[1]))\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    found = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert found.stdout.startswith(f"LaunchError cannot write 65536 bytes to {tmp_path}"), found
    assert "set GDN_CACHE_DIR" in found.stdout


def test_a_folder_that_gives_back_other_bytes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.fsync", lambda number: os.ftruncate(number, 10))
    with pytest.raises(LaunchError, match="bytes read from"):
        require_room(tmp_path)


@pytest.mark.parametrize(
    ("ended", "stored"),
    [
        ("invalid", "invalid"), ("fault", "fault"), ("crash", "crash"), ("timeout", "timeout"),
        ("oom", "oom"), ("compile-error", "compile-error"), ("error", "crash"),
    ],
)  # fmt: skip
def test_how_a_job_ended_is_the_status_of_its_trial(ended: str, stored: str) -> None:
    assert _status(JobResult(job=Job(kind="measure", payload={}), status=ended)) == stored
