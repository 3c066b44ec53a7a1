"""A recording counts the calls of a process by problem, and loses none of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import gdn_ops
from gdn_ops.errors import InvalidInput
from gdn_ops.record import RECORDERS
from gdn_ops.record import recorder as module
from gdn_ops.record.file import add_counts
from gdn_ops.tuner.spaces.workloads import read_workload
from tests.gdn_ops.ops.calls import call
from tests.problems import DECODE, FORWARD

ROOT = Path(__file__).parents[3]


def small(**change: Any) -> dict[str, Any]:
    return {"q": torch.rand(1, 20, 1, 16), "k": torch.rand(1, 20, 1, 16) / 4,
            "v": torch.rand(1, 20, 2, 16), "g": -torch.rand(1, 20, 2),
            "beta": torch.rand(1, 20, 2)} | change  # fmt: skip


def counts(path: Path) -> dict[tuple[str, int], int]:
    """The counts in a file by op and tokens, read as ``gdn tune`` reads it."""
    workload = read_workload(path)
    found: Counter[tuple[str, int]] = Counter()
    for problem, count in zip(workload.problems, workload.counts, strict=True):
        found[problem.op, problem.tokens] += count
    return dict(found)


def in_a_graph(x: dict[str, Any]) -> torch.Tensor:
    """What a compiled graph calls when it runs, with gradients."""
    given = (x["q"], x["k"], x["v"], x["g"], x["beta"], None, None, None, None, None)
    o: torch.Tensor = torch.ops.gdn_ops.rule(*given, 0.25, False)[0]
    return o


def test_calls_gradients_pools_and_calls_in_graphs_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "calls.json"
    inputs = small()
    one = {name: x[:, :1] for name, x in inputs.items()}
    with gdn_ops.recording(path) as recorder:
        for T in (20, 30, 31):  # all in the bucket of 32 tokens
            gdn_ops.chunk_gated_delta_rule(**call(B=1, T=T))
        gdn_ops.chunk_gated_delta_rule(**call(B=1, T=0))  # there is nothing to tune
        gdn_ops.fused_recurrent_gated_delta_rule(**one)
        trained = small(v=torch.rand(1, 20, 2, 16, requires_grad=True))
        in_a_graph(trained).sum().backward()
        gdn_ops.chunk_gated_delta_rule(**trained)[0].sum().backward()
        gdn_ops.serving.fused_recurrent_gated_delta_rule(
            **one, initial_state=torch.zeros(1, 2, 16, 16)
        )
        with torch.no_grad():
            gdn_ops.explain(**inputs)
            gdn_ops.chunk_gated_delta_rule(**{n: x.double() for n, x in inputs.items()})
    gdn_ops.chunk_gated_delta_rule(**inputs)
    found = {("forward", 32): 5, ("decode", 1): 1, ("backward", 32): 2, ("pool", 1): 1}
    assert counts(path) == found
    by_size: Counter[tuple[str, int]] = Counter()
    for problem, n in recorder.counts.items():
        by_size[problem.op, problem.tokens] += n
    assert by_size == found
    assert not RECORDERS
    assert list(tmp_path.iterdir()) == [path]


def test_another_recording_adds_to_the_file_and_the_commonest_is_first(tmp_path: Path) -> None:
    path = tmp_path / "calls.json"
    add_counts(path, {FORWARD.bucket(): 2})
    add_counts(path, {DECODE.bucket(): 5, FORWARD.bucket(): 1})
    rows = json.loads(path.read_text())["problems"]
    assert [row["count"] for row in rows] == [5, 3]
    assert read_workload(path).problems == (DECODE.bucket(), FORWARD.bucket())


def test_writers_at_the_same_time_lose_no_count(tmp_path: Path) -> None:
    path, problems = tmp_path / "calls.json", [replace(FORWARD, tokens=2**n) for n in range(4, 8)]

    def write(problem: Any) -> None:
        for _ in range(25):
            add_counts(path, {problem: 1, DECODE.bucket(): 1}, seconds=60)

    threads = [threading.Thread(target=write, args=(problem,)) for problem in problems]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    workload = read_workload(path)
    assert dict(zip(workload.problems, workload.counts, strict=True)) == {
        DECODE.bucket(): 100, **dict.fromkeys(problems, 25),
    }  # fmt: skip


@pytest.mark.parametrize("content", ["{}", "no recording", '{"problems": [{"op": "forward"}]}'])
def test_a_file_that_is_no_recording_is_left_with_one_warning(tmp_path: Path, content: str) -> None:
    path = tmp_path / "precious.json"
    path.write_text(content)
    with (
        pytest.warns(RuntimeWarning, match="is not a recording, so it is left as it is") as caught,
        gdn_ops.recording(path),
    ):
        for T in (20, 70):
            o, _ = gdn_ops.chunk_gated_delta_rule(**call(T=T))
            assert o.isfinite().all()
    assert len(caught) == 1
    assert path.read_text() == content


def test_a_recording_that_cannot_be_written_is_written_once_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SECONDS_BETWEEN_WRITES", 0.0)
    path = tmp_path / "later" / "calls.json"
    with pytest.warns(RuntimeWarning) as caught, gdn_ops.recording(path):
        gdn_ops.chunk_gated_delta_rule(**small())
        gdn_ops.chunk_gated_delta_rule(**small())
        path.parent.mkdir()
    (warning,) = caught
    assert "check the path and its permissions. The calls are not affected." in str(warning.message)
    assert counts(path) == {("forward", 32): 2}


def test_a_failed_write_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "calls.json"
    add_counts(path, {FORWARD.bucket(): 2})
    before = path.read_text()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="No space left"):
        add_counts(path, {FORWARD.bucket(): 1})
    assert path.read_text() == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("path", "says"), [(3, r"recording\(3\) is no path"), ("calls.txt", "does not end in .json")]
)
def test_a_path_that_tune_would_not_read_is_refused(path: Any, says: str) -> None:
    with pytest.raises(InvalidInput, match=says), gdn_ops.recording(path):
        raise AssertionError


PROCESS = """
import multiprocessing, torch, gdn_ops
x = torch.rand(1, 20, 2, 16)
def calls(n):
    for _ in range(n):
        gdn_ops.chunk_gated_delta_rule(x, x / 4, x, -x[..., 0], x[..., 0])
calls(3)
child = multiprocessing.get_context("fork").Process(target=calls, args=(4,))
child.start(); child.join()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_the_environment_records_a_process_and_its_forks(tmp_path: Path) -> None:
    path = tmp_path / "calls.json"
    run = [sys.executable, "-c", PROCESS]
    environment = os.environ | {"GDN_RECORD": str(path), "TRITON_INTERPRET": "0"}
    subprocess.run(run, env=environment, check=True, cwd=ROOT)
    assert counts(path) == {("forward", 32): 7}


def test_a_bad_path_in_the_environment_is_one_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDN_RECORD", "calls.txt")
    with pytest.warns(RuntimeWarning, match="GDN_RECORD is ignored: .* does not end in .json"):
        module._record_process()
    assert not RECORDERS
    monkeypatch.setenv("GDN_RECORD", "")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        module._record_process()
    assert not RECORDERS
