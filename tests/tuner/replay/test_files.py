"""Files of recorded spaces: both formats give the same space; what is unusable is refused."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gdn_ops.codegen.errors import InvalidInput
from gdn_ops.tuner.replay.files import recorded_space
from tests.tuner.replay.recorded_file import OPTIMUM, ROWS, kernel_tuner, t4


def written(path: Path, content: Any) -> Path:
    path.write_bytes(gzip.compress(json.dumps(content).encode(), 1))
    return path


def test_both_formats_give_the_same_space(tmp_path: Path) -> None:
    cache = recorded_space(written(tmp_path / "toy_a.json.gz", kernel_tuner()))
    results = recorded_space(written(tmp_path / "toy_b.json.gz", t4()))
    ours = {**t4(), "metadata": {"stage": "solve"}}
    assert recorded_space(written(tmp_path / "h200.json.gz", ours)).kernel == "solve"
    assert (cache.name, results.name) == ("toy_a", "toy_b")
    assert cache.kernel == results.kernel == "toy"
    assert cache.axes == results.axes
    assert cache.outcomes == results.outcomes
    assert [axis.name for axis in cache.axes] == ["tile", "warps", "form", "unroll"]
    assert len(cache.configs) == len(ROWS)
    assert cache.optimum == pytest.approx(OPTIMUM * 1e-3)
    assert cache.best(1)[0] == {"tile": 128, "warps": 8, "form": "fancy", "unroll": 0}
    failed = [config for config in cache.configs if cache.outcome(config).status != "ok"]
    assert len(failed) == sum(ms is None for _, ms in ROWS) > 0
    assert not cache.is_valid({"tile": 16, "warps": 32, "form": "plain", "unroll": 0})


def changed(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        next(iter(content["cache"].values()))[key] = value

    return change


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda c: c.update(cache={}), "has no configurations"),
        (lambda c: c.update(cache=[]), "must be an object"),
        (lambda c: c.update(tune_params_keys=[["tile"]]), "must be a list of names"),
        (lambda c: c.update(objective="GFLOP/s"), "only time can be replayed"),
        (lambda c: c.pop("cache"), "neither a Kernel Tuner cache"),
        (lambda c: [x.update(time="error") for x in c["cache"].values()], "has a time"),
        (changed("time", -1.0), "-1.0 ms; it must be > 0"),
        (changed("time", float("nan")), "nan ms; it must be > 0"),
        (changed("time", 10**400), "it must be > 0 and <="),
        (changed("tile", [16]), "must be a number, text or true or false"),
        (changed("tile", float("inf")), "must be a number"),
        (changed("tile", 10**400), "an integer must be within"),
    ],
)
def test_what_cannot_be_replayed_is_refused(
    change: Callable[[dict[str, Any]], None], why: str, tmp_path: Path
) -> None:
    content = kernel_tuner()
    change(content)
    with pytest.raises(InvalidInput, match=r"x\.json") as error:
        recorded_space(written(tmp_path / "x.json.gz", content))
    assert why in str(error.value)
    assert len(str(error.value)) < 400 + len(str(tmp_path))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda c: c.update(schema_version="2.0.0"), "version 1 can be replayed"),
        (lambda c: c.update(results={}), "must be a list"),
        (lambda c: c["results"].append(3), "has no configuration"),
        (lambda c: c["results"][0].update(measurements=7), "no list of measurements"),
        (lambda c: c["results"][0]["configuration"].pop("tile"), "does not have the parameters"),
    ],
)
def test_what_is_no_t4_is_refused(
    change: Callable[[dict[str, Any]], None], why: str, tmp_path: Path
) -> None:
    content = t4()
    content["results"] = [
        dict(r, configuration=dict(r["configuration"])) for r in content["results"]
    ]
    change(content)
    with pytest.raises(InvalidInput) as error:
        recorded_space(written(tmp_path / "x.json.gz", content))
    assert why in str(error.value)


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[" * 100_000, b"\x1f\x8b\x08", b"\xff\xfe\x00", b"3"]
)
def test_a_broken_file_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(InvalidInput, match=r"truncated|neither"):
        recorded_space(tmp_path / "x")


def test_a_truncated_or_missing_file_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "x.json.gz", kernel_tuner())
    path.write_bytes(path.read_bytes()[:-200])
    for name, says in (
        ("x.json.gz", "cannot be read"), ("none.json", "there is no file"), (".", "is a folder"),
    ):  # fmt: skip
        with pytest.raises(InvalidInput, match=says):
            recorded_space(tmp_path / name)
