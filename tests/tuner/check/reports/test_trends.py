"""Reports for trends: valid, in the right unit, without rows that have no number."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from gdn_ops.tuner.check.outcome import Outcome
from gdn_ops.tuner.check.reports import bencher, benchmark_action, pytorch_v3
from gdn_ops.tuner.check.reports.short_name import short_name, slug
from gdn_ops.tuner.check.states import State
from gdn_ops.tuner.measure.statistics import estimate
from tests.tuner.check.reports import outcomes

SCHEMAS = Path(__file__).parent / "schemas"
FORMATS = {
    "bencher": bencher.render,
    "benchmark_action": benchmark_action.render,
    "pytorch_v3": pytorch_v3.render,
}


def read(format: str, outcome: Outcome) -> Any:
    return json.loads(FORMATS[format](outcome))


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("make", outcomes.ALL.values(), ids=outcomes.ALL)
def test_every_outcome_is_valid(format: str, make: Callable[[], Outcome]) -> None:
    text = FORMATS[format](make())
    schema = json.loads((SCHEMAS / f"{format}.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    document = json.loads(text)
    Draft202012Validator(schema).validate(document)
    # readers outside Python refuse half a surrogate pair, and so does this
    json.dumps(document, ensure_ascii=False).encode()


@pytest.mark.parametrize("format", FORMATS)
def test_rows_without_numbers_are_left_out(format: str) -> None:
    timed = [row for row in outcomes.measured().rows if row.times is not None]
    assert len(read(format, outcomes.measured())) == len(timed) == 5
    found = read(format, outcomes.static())
    figures = sum(len(row.figures) for row in outcomes.static().rows)
    number = sum(map(len, found.values())) if format == "bencher" else len(found)
    assert number == figures == 16
    assert not read(format, outcomes.empty())


def test_values_are_the_head_median_with_its_bootstrap_interval() -> None:
    row = outcomes.measured().rows[3]
    assert row.times is not None
    outcome = replace(outcomes.measured(), rows=(row,))
    expected = estimate(row.times.head)
    assert expected.low < expected.median == median(row.times.head) < expected.high

    latency = read("bencher", outcome)[f"h200 {row.name}"]["latency"]
    assert latency == {
        "value": pytest.approx(1e9 * expected.median),
        "lower_value": pytest.approx(1e9 * expected.low),
        "upper_value": pytest.approx(1e9 * expected.high),
    }

    (entry,) = read("benchmark_action", outcome)
    assert (entry["name"], entry["unit"]) == (f"h200 {row.name}", "us")
    assert entry["value"] == pytest.approx(1e6 * expected.median)
    half = 50 * (expected.high - expected.low) / expected.median
    assert entry["range"] == f"± {half:.1f} %"
    assert entry["extra"].startswith("regressed; 1.052 times")

    (record,) = read("pytorch_v3", outcome)
    assert record["metric"]["benchmark_values"] == [pytest.approx(1e6 * expected.median)]
    details = record["metric"]["extra_info"]
    assert float(details["lower"]) == pytest.approx(1e6 * expected.low)
    assert float(details["upper"]) == pytest.approx(1e6 * expected.high)
    assert details["unit"] == "us"
    assert record["dependencies"]["triton"]["version"] == "3.7.1"
    assert record["runners"][0]["gpu_info"] == "NVIDIA H200"


def test_figures_of_a_static_row_are_measures() -> None:
    found = read("bencher", outcomes.static())["sm_90 split/chunk_o BT=64"]
    assert found == {
        "registers": {"value": 168},
        "spilled-bytes": {"value": 64},
        "instructions-hgmma": {"value": 96},
        "bytes-per-token": {"value": 1.5},
    }
    entries = read("benchmark_action", outcomes.static())
    spilled = [e for e in entries if e["name"] == "sm_90 split/chunk_o BT=64 spilled bytes"]
    assert [(e["value"], e["unit"]) for e in spilled] == [(64, "spilled bytes")]


def test_backward_is_training_and_a_cpu_is_no_gpu() -> None:
    rows = outcomes.measured().rows[4:6]
    modes = [r["benchmark"]["mode"] for r in read("pytorch_v3", _only(*rows))]
    assert modes == ["training", "inference"]
    (record,) = read("pytorch_v3", _only(replace(rows[1], target="cpu-avx512")))
    assert "gpu_info" not in record["runners"][0]
    assert record["runners"][0]["cpu_info"] == "NVIDIA H200"


def test_long_names_fit_and_stay_apart() -> None:
    stem = "x" * 2000
    rows = [
        outcomes.row(f"{stem}{end}", State.NEW, figures={f"{stem}{i}": 1.0 for i in range(3)})
        for end in "ab"
    ]
    found = read("bencher", _only(*rows))
    assert [len(name) for name in found] == [1024, 1024]
    assert all(len(measures) == 3 for measures in found.values())
    assert short_name("a", 64) == "a"


def test_slugs_of_different_names_differ() -> None:
    names = [
        "registers",
        "instructions HGMMA",
        "bytes/token",
        "bytes token",
        "中",
        "文",
        "a+b",
        "a-b",
    ]
    slugs = [slug(name, 64) for name in names]
    assert len(set(slugs)) == len(names)
    assert slugs[:2] == ["registers", "instructions-hgmma"]


def _only(*rows: Any) -> Outcome:
    return replace(outcomes.measured(), rows=tuple(rows))
