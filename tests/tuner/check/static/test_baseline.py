"""Files of baselines: what is written is read back, and what is no baseline is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gdn_ops.codegen.errors import ResultsError
from gdn_ops.tuner.check.static.baseline import (
    Baseline,
    KernelRecord,
    VariantRecord,
    check_folder,
    read_baseline,
    text_of,
    write_baseline,
)
from gdn_ops.tuner.check.static.check import update
from gdn_ops.tuner.check.static.compiler import Compiler

BASELINE = Baseline(
    arch="sm_90",
    compiler=Compiler(triton="3.7.1", ptxas="12.8.93"),
    reader="0123",
    kernels={
        "prefill/split/chunk_o": KernelRecord(
            hash="ab",
            arguments="cd",
            config="BT=64",
            options="num_warps=4",
            figures={"registers": 96, "instructions HGMMA": 8},
        )
    },
    variants={
        "prefill/split": VariantRecord(
            problem="forward-scalar-delta-N1-L64-H1-HV1-K64-V64-bf16",
            kernels={"chunk_o": "prefill/split/chunk_o"},
            figures={"launches": 1, "bytes": 776.5},
        )
    },
)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folders" / "sm_90.json"
    write_baseline(BASELINE, path)
    assert read_baseline(path, "sm_90") == BASELINE
    assert [file.name for file in path.parent.iterdir()] == ["sm_90.json"]
    assert path.read_text() == text_of(BASELINE)
    assert '    "registers": 96\n' in path.read_text()


def kernel(data: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = data["kernels"]["prefill/split/chunk_o"]
    return found


DAMAGES: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
    (lambda d: d.update(schema=2), "has schema 2, and this version of gdn-ops reads schema 1"),
    (lambda d: d.pop("schema"), "has schema None"),
    (lambda d: d.update(schema=True), "has schema True"),
    (lambda d: d.update(arch="sm_80"), "is of 'sm_80', not of sm_90"),
    (lambda d: d.update(more=1), "its top level has an unknown key 'more'"),
    (lambda d: d.pop("reader"), "its top level lacks 'reader'"),
    (lambda d: d.update(triton=3.7), "triton is 3.7, not a text"),
    (lambda d: d.update(kernels=[]), r"kernels is \[\], not an object"),
    (lambda d: kernel(d).update(seconds=1), "chunk_o has an unknown key 'seconds'"),
    (lambda d: kernel(d).pop("hash"), "chunk_o lacks 'hash'"),
    (lambda d: kernel(d).update(config=None), "config of prefill/split/chunk_o is None"),
    (lambda d: kernel(d)["figures"].update(speed=1), "unknown figure 'speed'"),
    (lambda d: kernel(d)["figures"].update(stack=-1), "stack of prefill/split/chunk_o is -1"),
    (lambda d: kernel(d)["figures"].update(stack=float("nan")), "stack of .* is nan"),
    (lambda d: kernel(d)["figures"].update(stack=10**400), "stack of .* is 1000"),
    (lambda d: kernel(d)["figures"].update(stack=True), "stack of .* is True"),
    (lambda d: kernel(d)["figures"].update(stack="8"), "stack of .* is '8'"),
    (lambda d: d["variants"].update(x=3), "x is 3, not an object"),
    (
        lambda d: d["variants"]["prefill/split"]["kernels"].update(chunk_o="gone"),
        "prefill/split uses the kernel 'gone', which it does not list",
    ),
    (
        lambda d: d["kernels"].update({"no/such": kernel(d)}),
        "the kernel 'no/such' is of no variant that it lists",
    ),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES)
def test_what_is_damaged_is_refused_in_a_sentence(
    tmp_path: Path, damage: Callable[[dict[str, Any]], Any], message: str
) -> None:
    data = json.loads(text_of(BASELINE))
    damage(data)
    path = tmp_path / "sm_90.json"
    path.write_text(json.dumps(data))
    with pytest.raises(ResultsError, match=message) as caught:
        read_baseline(path, "sm_90")
    assert str(path) in str(caught.value)
    assert "gdn check --static --update" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", text_of(BASELINE)[:-20], "[" * 100_000, "\udcff", "null", "3"]
)
def test_what_is_no_baseline_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "sm_90.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ResultsError, match=str(path)) as caught:
        read_baseline(path, "sm_90")
    assert len(str(caught.value)) < 400 + len(str(path))


def test_a_missing_baseline_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"there is no baseline .*sm_90\.json; make it with"):
        read_baseline(tmp_path / "sm_90.json", "sm_90")
    with pytest.raises(ResultsError, match="cannot read the baseline"):
        read_baseline(tmp_path, "sm_90")


def test_a_path_that_cannot_be_written_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError, match="cannot write the baseline"):
        write_baseline(BASELINE, tmp_path / "file" / "sm_90.json")
    (tmp_path / "sm_90.json").mkdir()
    with pytest.raises(ResultsError, match="cannot write the baseline"):
        write_baseline(BASELINE, tmp_path / "sm_90.json")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "sm_90.json"]


def test_a_folder_that_cannot_be_written_to_is_refused_before_compiling(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError, match=r"cannot write baselines to .*file"):
        update(["sm_90"], folder=tmp_path / "file")
    check_folder(tmp_path / "new" / "folders")
    assert list((tmp_path / "new" / "folders").iterdir()) == []
