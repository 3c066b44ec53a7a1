"""Eight tuners at once on one database, a file or a server that crashes and comes back."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gdn_ops.tuner.store.db import open_database
from gdn_ops.tuner.store.store import Store
from tests.postgres import PASSWORD, Server, running_server

TUNERS = 8
PROBLEM = {"H": 1, "HV": 2, "K": 16, "V": 16, "dtype": "fp32", "tokens": 64}


@pytest.fixture(params=["file", "server"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Server | None]]:
    if request.param == "file":
        yield str(tmp_path / "results.db"), None
    else:
        with running_server() as server:
            yield server.database("shared"), server


@pytest.mark.exhaustive
def test_eight_tuners_share_a_database(place: tuple[str, Server | None], tmp_path: Path) -> None:
    location, server = place
    (tmp_path / "tiny.json").write_text(json.dumps([PROBLEM]))
    tuners = [_tuner(tmp_path, location) for _ in range(TUNERS)]
    first = tuners[0].stdout
    assert first is not None
    begun = ""
    while "recorded" not in begun and (line := first.readline()):
        begun += line
    if server is not None:
        server.stop()
        server.start()
    outputs = [tuner.communicate()[0] for tuner in tuners]
    outputs[0] = begun + outputs[0]
    assert [tuner.returncode for tuner in tuners] == [0] * TUNERS, "\n".join(outputs)
    assert not any(PASSWORD in output for output in outputs)
    reported = [int(n) for text in outputs for n in re.findall(r"trial (\d+) recorded", text)]
    assert len(reported) == len(set(reported)) >= TUNERS
    with open_database(location, create=False) as database:
        store = Store(database)
        assert database.faults() == []
        assert sorted(reported) == sorted(trial.id for trial in store.trials())
        (winner,) = store.winners()
        assert winner.trial_id is not None
        assert store.trial(winner.trial_id).outcome.status == "ok"
        assert {run.status for run in store.runs()} == {"finished"}


def _tuner(folder: Path, location: str) -> subprocess.Popen[str]:
    environment = os.environ | {
        "GDN_CACHE_DIR": str(folder / "cache"), "OMP_NUM_THREADS": "1",
        "GDN_RESULTS_DB": location,
    }  # fmt: skip
    return subprocess.Popen(
        [
            sys.executable, "-u", "-m", "gdn_ops.tuner.cli", "tune", str(folder / "tiny.json"),
            "--device", "cpu", "--threads", "1", "--minutes", "0", "--trials", "2",
        ],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder,
    )  # fmt: skip
