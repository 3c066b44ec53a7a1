"""Format table: vLLM's shape, one file per geometry, device and dtype, keys by size."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gdn_ops.codegen.errors import InvalidInput
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.variant import Variant
from gdn_ops.tuner.export.formats import table
from gdn_ops.tuner.export.selection import described
from gdn_ops.tuner.spaces.workloads import decode, pool, prefill
from tests.results import ENVIRONMENT, HANG, Bench, stage_key

H200 = replace(ENVIRONMENT, device="NVIDIA H200")
GEOMETRY = "H=16,HV=32,K=128,V=128"
DECODE = f"op=decode,rule=scalar-delta,{GEOMETRY},flags=h0-ht,device_name=NVIDIA_H200,dtype=bf16"
PREFILL = (
    f"op=forward,rule=scalar-delta,{GEOMETRY},sequences=1,flags=ht,"
    "device_name=NVIDIA_H200,dtype=bf16"
)


def _win(bench: Bench, problem: Problem, plan: str, **options: Any) -> None:
    problem = problem.bucket()
    bench.win(problem, variant=Variant.default(plan, problem), **options)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    bench = Bench(tmp_path / "r.db", H200)
    for sequences in (128, 8, 16):
        _win(bench, decode(sequences=sequences), "recurrent")
    _win(bench, decode(sequences=8, dtype="fp32"), "recurrent", predicted=True)
    _win(bench, prefill(tokens=512), "split")
    bench.record(stage_key(prefill(tokens=512), BV=32), HANG)
    _win(bench, prefill(tokens=512, sequences=4), "fused1")
    return bench.close()


@pytest.fixture
def files(database: Path) -> dict[str, bytes]:
    return table.exported(described([database]))


def test_one_file_per_geometry_device_and_dtype(files: dict[str, bytes]) -> None:
    assert set(files) == {
        f"{DECODE}.json",
        f"{PREFILL}.json",
        f"{PREFILL.replace('sequences=1', 'sequences=4')}.json",
        f"{DECODE.replace('NVIDIA_H200', 'H200').replace('bf16', 'fp32')}.json",
        "table.manifest.json",
    }


def test_keys_are_sizes_in_ascending_order_as_vllm_reads_them(files: dict[str, bytes]) -> None:
    found = json.loads(files[f"{DECODE}.json"])
    assert found.pop("triton_version") == "3.7.1"
    assert list(found) == ["8", "16", "128"]
    sizes = {int(key): choice for key, choice in found.items()}
    # vLLM's own rule; a tie goes to the first key, so the smaller size
    nearest = {size: min(sizes, key=lambda key: abs(key - size)) for size in (1, 12, 13, 73, 999)}
    assert nearest == {1: 8, 12: 8, 13: 16, 73: 128, 999: 128}


def test_a_choice_is_a_whole_variant(files: dict[str, bytes]) -> None:
    choice = json.loads(files[f"{PREFILL}.json"])["512"]
    problem = prefill(tokens=512).bucket()
    assert choice["plan"] == "split"
    assert {"num_warps", "num_stages"} <= choice["stages"]["chunk_h"].keys()
    assert Variant.from_json(choice, problem) == Variant.default("split", problem)


def test_the_manifest_says_which_choice_was_measured(files: dict[str, bytes]) -> None:
    manifest = json.loads(files["table.manifest.json"])
    measured = manifest["tables"][f"{DECODE}.json"]
    assert (measured["target"], measured["device"]) == ("h200", "NVIDIA H200")
    assert measured["choices"]["8"] == {
        "problem": decode(sequences=8).id(), "provenance": "measured", "median": 2e-3,
    }  # fmt: skip
    (predicted,) = (
        one["choices"]["8"] for name, one in manifest["tables"].items() if "fp32" in name
    )
    assert predicted["provenance"] == "predicted"
    (target,) = manifest["targets"]
    assert [d["config"] for d in target["denied"]] == [{"BV": 32}]
    assert {w["problem"] for w in target["winners"]} >= {decode(sequences=8).id()}


def test_two_exports_have_the_same_bytes(database: Path, files: dict[str, bytes]) -> None:
    assert table.exported(described([database])) == files


def test_drafts_have_a_table_of_their_own() -> None:
    engine = pool(sequences=16, drafts=3).bucket()
    assert table.size_of(engine) == 16
    name = table.file_of(engine, "NVIDIA H200")
    assert ",tokens_per_sequence=4,flags=varlen-" in name
    assert name.endswith("device_name=NVIDIA_H200,state_dtype=bf16,dtype=bf16.json")
    assert "tokens_per_sequence" not in table.file_of(pool(sequences=16), "x")


def test_a_devices_name_is_written_as_vllm_writes_it() -> None:
    name = table.file_of(decode(sequences=8), "Intel(R) Xeon/Gold - 2.2\x1b[2J:;GHz")
    assert "device_name=Intel(R)_Xeon_Gold_2.22JGHz," in name


@pytest.mark.parametrize("device", ["\x1b", "x" * 99, "../.."])
def test_a_device_that_makes_no_file_name_is_refused(tmp_path: Path, device: str) -> None:
    bench = Bench(tmp_path / "r.db", replace(ENVIRONMENT, device=device))
    _win(bench, decode(sequences=8), "recurrent")
    with pytest.raises(InvalidInput, match=r"device .* cannot be part of a file name"):
        table.exported(described([bench.close()]))


def test_two_targets_with_one_device_are_refused(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "r.db")
    _win(bench, decode(sequences=8), "recurrent")
    _win(bench, decode(sequences=16), "recurrent", target="my gpu")
    with pytest.raises(InvalidInput, match="targets 'h200' and 'my gpu' have the same table"):
        table.exported(described([bench.close()]))
