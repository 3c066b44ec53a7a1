"""``--model`` and recordings on the command line: what is tuned, explained and refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import gdn_ops
from gdn_ops.dispatch.bindings import refresh
from gdn_ops.dispatch.device import target_of
from gdn_ops.tuner.cli import run
from gdn_ops.tuner.spaces.workloads import buckets, read_workload
from tests.gdn_ops.ops.calls import call

QWEN = {
    "model_type": "qwen3_5_text", "linear_num_key_heads": 1, "linear_num_value_heads": 2,
    "linear_key_head_dim": 16, "linear_value_head_dim": 16, "dtype": "float32",
    "layer_types": ["linear_attention", "full_attention", "linear_attention"],
}  # fmt: skip
CPU = target_of(torch.device("cpu"))


@pytest.fixture
def model(tmp_path: Path) -> str:
    """The folder of a model of text and images."""
    config = {"model_type": "qwen3_5", "text_config": QWEN}
    (tmp_path / "config.json").write_text(json.dumps(config))
    return str(tmp_path)


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty database of the user's own, and none that ships."""
    path = tmp_path / "mine.db"
    monkeypatch.setenv("GDN_RESULTS_DB", str(path))
    monkeypatch.setattr("gdn_ops.results_path.shipped_database", lambda: tmp_path / "none.db")
    refresh()
    yield path
    refresh()


def requested(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Any:
    """What ``gdn tune`` asks a session for."""
    requests: list[Any] = []

    def session(request: Any, view: Any) -> Any:
        requests.append(request)
        raise KeyboardInterrupt

    monkeypatch.setattr("gdn_ops.tuner.session.tune", session)
    assert run(["tune", *arguments]) == 130
    return requests[0]


def test_tune_asks_for_the_problems_of_a_model(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    request = requested(monkeypatch, "--model", model, "--lengths", "60, 500", "--batches", "8")
    assert request.workload == "qwen3_5_text" and request.counts is None
    heads = "H1-HV2-K16-V16-fp32"
    assert [problem.id() for problem in request.problems] == [
        f"forward-scalar-delta-N1-L64-{heads}-ht", f"forward-scalar-delta-N1-L512-{heads}-ht",
        f"decode-scalar-delta-N8-L8-{heads}-h0-ht",
    ]  # fmt: skip
    options = ("--lengths", "64", "--training", "--dtype", "bf16")
    request = requested(monkeypatch, "--model", model, *options)
    heads = "H1-HV2-K16-V16-bf16"
    assert [problem.id() for problem in request.problems] == [
        f"{op}-scalar-delta-N1-L64-{heads}" for op in ("forward", "backward")
    ]


def test_a_recording_is_explained_and_tuned_by_its_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "calls.json"
    with gdn_ops.recording(path):
        for T in (30, 31, 1):
            gdn_ops.chunk_gated_delta_rule(**call(T=T))
    request = requested(monkeypatch, str(path))
    long, short = buckets(read_workload(path).problems)
    assert request.counts == {long.id(): 2, short.id(): 1}
    assert run(["explain", str(path)]) == 0
    out = capsys.readouterr().out
    assert f"2 calls  {long.id()}" in out and "2 problems on cpu" in out


def test_doctor_ends_with_what_to_type_next(
    model: str, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["doctor", "--model", model, "--lengths", "64", "--batches", ""]
    assert run(arguments) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    typed = f"--model {model} --lengths 64 --batches ''"
    assert last == (
        f"qwen3_5_text: 1 problem on {CPU.name}: 1 fallback. `gdn tune {typed}` measures the one "
        "that no stored result fits exactly."
    )


def test_what_a_model_called_is_tuned_and_then_nothing_more_is_needed(
    model: str, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, x = tmp_path / "calls.json", torch.rand(1, 16, 2, 16)
    with gdn_ops.recording(path):
        gdn_ops.chunk_gated_delta_rule(
            x[:, :, :1], x[:, :, 1:] / 4, x, -x[..., 0], x[..., 0], output_final_state=True
        )
    quick = ["--minutes", "0.01", "--device", "cpu", "--threads", "1"]
    assert run(["tune", str(path), *quick]) == 0
    heads = "N1-L16-H1-HV2-K16-V16-fp32-ht"
    assert (
        f"100% of the time: forward-scalar-delta-{heads}, 1 call, about" in capsys.readouterr().out
    )
    refresh()
    arguments = ["--model", model, "--lengths", "16", "--batches", ""]
    assert run(["doctor", *arguments]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert "1 exact. Each has a result of its own here; `gdn bench --model" in last
    assert run(["explain", *arguments]) == 0
    out = capsys.readouterr().out
    assert f"2 recurrent layers  forward-scalar-delta-{heads}  " in out
    assert out.endswith("1 exact\n")


BAD: dict[str, tuple[list[str], str]] = {
    "both": (["tune", "tiny", "--model", "."], "the workload 'tiny' and --model . are given"),
    "facts": (["tune", "--model", ".", "--H", "4"], "options of a problem (H, HV) are given; of"),
    "alone": (["predict", "--lengths", "4"], "--lengths is only read with --model; leave it out."),
    "alone too": (["doctor", "--training"], "--training is only read with --model"),
    "no folder": (["bench", "--model", "Qwen/Q"], "neither a folder nor a JSON file"),
    "words": (["explain", "--model", ".", "--lengths", "2k"], "--lengths '2k' must be whole"),
    "hostile": (["explain", "--model", ".", "--lengths", "9" * 5000], "must be whole numbers"),
    "range": (["explain", "--model", ".", "--batches", "0"], "0 in batches must be a whole number"),
    "nothing": (["tune", "--model", ".", "--lengths", "", "--batches", ""], "lengths is empty"),
    "tp": (["export", "wheel", "--model", ".", "--tp", "3", "-o", "out"], "among 3 devices"),
    "judged": (["bench", "--cost-model", "--model", "."], "--model is not read with --cost-model"),
    "static": (["check", "--static", "--model", "."], "--model is only read without --static"),
    "verify": (["export", "verify", "x", "--model", "."], "--model is not read by verify"),
    "one or many": (["predict", "tiny", "--K", "64"], "'tiny' and options of a problem (K, V)"),
    "judged one": (["bench", "--cost-model", "--K", "64"], "the K of a problem, the V of"),
    "two": (["explain", "tiny", "--H", "2"], "the workload 'tiny' and options of a problem (H,"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_exit_2(
    name: str, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    arguments, says = BAD[name]
    assert run(arguments) == 2
    out, error = capsys.readouterr()
    assert says in error and not out
    assert error.count("\n") == 1 and len(error) < 600
    assert not (tmp_path / "out").exists() and not (tmp_path / "mine.db").exists()
