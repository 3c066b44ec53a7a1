"""Baseline files: the noise between runs, and what is kept."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from math import exp
from pathlib import Path
from time import sleep

import pytest

from gdn_ops.codegen.errors import InvalidInput, ResultsError
from gdn_ops.tuner.check.baseline_file import (
    MAX_RUNS,
    Baseline,
    Run,
    StoredRow,
    read_baseline,
    write_baseline,
)
from gdn_ops.tuner.check.facts import Described
from gdn_ops.tuner.whole_file import write_whole

FACTS = {"op": "forward", "tokens": 64}


def run(*medians: float, key: str = "same", device: str = "A CPU", started: str = "today") -> Run:
    """A run of one problem with one sample per process."""
    described = Described(facts=FACTS, id="p", variant={"plan": "torch"}, key=key)
    row = StoredRow(described=described, processes=tuple((x,) for x in medians))
    return Run(
        label="head", started=started, target="cpu", environment={"device": device}, rows=(row,)
    )


def test_one_run_is_taken_to_be_noisier_than_its_processes():
    steady = Baseline((run(1.0, 1.0, 1.0),))
    assert steady.noise(FACTS) == (pytest.approx(0.02), 1)
    spread = Baseline((run(exp(-0.05), 1.0, exp(0.05)),))
    assert spread.noise(FACTS) == (pytest.approx(2 * 1.4826 * 0.05), 1)


def test_three_runs_show_the_noise_between_runs():
    baseline = Baseline((run(exp(-0.004)), run(1.0), run(exp(0.004))))
    assert baseline.noise(FACTS) == (pytest.approx(2 * 1.4826 * 0.004), 3)
    assert baseline.seconds(FACTS) == 1.0


def test_runs_of_other_code_do_not_count():
    baseline = Baseline((run(9.0, key="old"), run(9.0, key="old"), run(1.0), run(1.0)))
    assert baseline.seconds(FACTS) == 1.0
    assert baseline.noise(FACTS)[1] == 2


def test_a_file_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "saved.json"
    first, second = run(1.0, 2.0), run(3.0)
    write_baseline(path, first)
    assert write_baseline(path, second) == read_baseline(path) == Baseline((first, second))


def test_the_oldest_runs_are_dropped(tmp_path):
    path = tmp_path / "saved.json"
    for number in range(MAX_RUNS + 2):
        write_baseline(path, run(1.0, started=str(number)))
    kept = read_baseline(path).runs
    assert [each.started for each in kept] == [str(i) for i in range(2, MAX_RUNS + 2)]


def test_another_device_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "saved.json"
    write_baseline(path, run(1.0))
    before = path.read_bytes()
    with pytest.raises(InvalidInput, match="device: A CPU and B"):
        write_baseline(path, run(1.0, device="B"))
    assert path.read_bytes() == before


def test_a_file_that_cannot_be_written(tmp_path):
    with pytest.raises(ResultsError, match=r"cannot write .*; name another file"):
        write_baseline(tmp_path / "no" / "folder.json", run(1.0))
    with pytest.raises(ResultsError, match="cannot read the baseline"):
        read_baseline(Path(tmp_path))


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        (("rows", 0, "processes", 0, 0), 10**400, "not a number of seconds"),
        (("rows", 0, "processes", 0, 0), True, "not a number of seconds"),
        (("rows", 0, "processes", 0, 0), 1e-320, "not a number of seconds"),
        (("rows", 0, "described", "facts"), [1], "no sound baseline"),
        (("rows", 0, "described", "facts"), {"op": {"a": 1}}, "a fact of a problem is"),
        (("rows", 0, "described", "variant"), "x", "variant is 'x', not an object"),
        (("rows", 0, "described", "key"), ["x"], "is not a text"),
        (("environment", "threads"), "many", "threads is 'many', not a number"),
        (("environment", "device"), {"a": 1}, "is not a text"),
        (("target",), 5, "is not a text"),
    ],
)
def test_hostile_values_are_refused(tmp_path, place, value, says):
    path = tmp_path / "saved.json"
    write_baseline(path, run(1.0))
    data = json.loads(path.read_text())
    part = data["runs"][0]
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    path.write_text(json.dumps(data))
    with pytest.raises(InvalidInput, match=says):
        read_baseline(path)


def test_the_file_that_a_link_names_is_written(tmp_path):
    link = tmp_path / "link.json"
    link.symlink_to(tmp_path / "saved.json")
    write_baseline(link, run(1.0))
    assert link.is_symlink() and read_baseline(tmp_path / "saved.json").runs == (run(1.0),)


def test_checks_that_save_at_the_same_time_lose_no_run(tmp_path, monkeypatch):
    def slowly(path: Path, content: str) -> None:
        sleep(0.02)
        write_whole(path, content)

    monkeypatch.setattr("gdn_ops.tuner.check.baseline_file.write_whole", slowly)
    path = tmp_path / "saved.json"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: write_baseline(path, run(1.0, started=str(number))), range(4)))
    assert sorted(each.started for each in read_baseline(path).runs) == list("0123")
