"""Format cubin: what the manifest says, what is left out, and what verification finds."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import triton

from gdn_ops.codegen.compiled.elf import functions
from gdn_ops.codegen.errors import CompileError, InvalidInput
from gdn_ops.codegen.targets import TARGETS
from gdn_ops.codegen.variant import Variant
from gdn_ops.results_path import shipped_database
from gdn_ops.tuner.check.static.compiler import Compiler
from gdn_ops.tuner.cli import run
from gdn_ops.tuner.export.cubins import building, manifest_facts
from gdn_ops.tuner.export.description import LeftOut
from gdn_ops.tuner.export.formats import cubin
from gdn_ops.tuner.export.library import json_bytes
from gdn_ops.tuner.export.manifest import with_manifest
from gdn_ops.tuner.export.selection import described
from gdn_ops.tuner.workers.worker_pool import Job, JobResult
from tests.results import Bench
from tests.tuner.export.cubins import conftest as few
from tests.tuner.export.cubins.abi import manifest_of

MANIFEST = "cubin.manifest.json"


@pytest.fixture(scope="module")
def manifest(small: few.Folder) -> dict[str, Any]:
    return manifest_of(small.path)


def _set_of(manifest: dict[str, Any], problem_id: str) -> dict[str, Any]:
    (found,) = (s for s in manifest["sets"] if s["problem"] == problem_id)
    return dict(found)


@pytest.mark.triton
def test_the_manifest_has_sets_kernels_and_proof(
    small: few.Folder, manifest: dict[str, Any]
) -> None:
    own = _set_of(manifest, few.PACKED.id())
    assert [s["stage"] for s in own["stages"]] == ["gate_cumsum", "solve", "scan"]
    assert own["stages"][1]["grid"] == ["B * 4", "NT", "1"]
    roles = {b["name"]: (b["role"], b["dtype"], b["bytes"]) for b in own["buffers"]}
    assert roles["q"] == ("input", "bf16", "B * T * 2 * 32 * 2")
    assert roles["ht"] == ("result", "fp32", "N * 4 * 32 * 32 * 4")
    assert roles["A"] == ("workspace", "bf16", "B * T * 4 * 16 * 2")
    assert roles["chunk_indices"] == ("table", "int32", "NT * 2 * 4")
    assert own["chunks"] == "ceil_div(L, 16)"
    kernel = manifest["kernels"][own["stages"][2]["kernel"]]
    assert kernel["symbol"] == "scan" and kernel["arch"] == "sm_90a"
    assert kernel["block"] == [kernel["options"]["num_warps"] * 32, 1, 1]
    first, *_, scale, scratch, profile = kernel["parameters"]
    assert first == {"name": "q", "type": "*bf16", "offset": 0, "size": 8, "divisible_by": 16}
    assert (scale["name"], scale["type"], scale["size"]) == ("scale", "fp32", 4)
    assert [scratch["name"], profile["name"]] == ["global_scratch", "profile_scratch"]
    runs_on = manifest["runs_on"]
    assert runs_on["triton"] == triton.__version__
    assert runs_on["target"] == "h200" and runs_on["capability"] == [9, 0]
    assert runs_on["ptxas"].startswith(f"{runs_on['least_driver'] // 1000}.")
    (proof,) = manifest["targets"]
    assert proof["licence"] == "Apache-2.0" and len(proof["gdn_ops"]["templates"]) == 64
    winners = {w["problem"]: w for w in proof["winners"]}
    assert set(winners) == {s["problem"] for s in manifest["sets"]}
    assert winners[few.PACKED.id()]["samples"] == [1.9e-3, 2e-3, 2.2e-3]
    assert winners[few.PACKED.id()]["environment"]["driver"] == "590.1"
    assert winners[few.DECODE.id()]["samples"] == "predicted"
    assert [d["status"] for d in proof["denied"]] == ["timeout"]
    assert proof["left_out"] == small.left_out


@pytest.mark.triton
def test_what_a_plain_launch_cannot_do_is_left_out(small: few.Folder) -> None:
    in_torch, descriptors = small.left_out
    assert f"the winner of {few.IN_TORCH.id()} on h200 is left out: stage bwd_total is" in in_torch
    assert f"the winner of {few.SCRATCH.id()} on h200 is left out: stage scan: it" in descriptors
    assert "bytes of scratch in device memory per block" in descriptors
    assert descriptors.endswith("use loads=pointer.")


def test_a_gluon_kernel_is_left_out_before_it_is_compiled() -> None:
    problem = replace(few.PACKED, H=1, HV=1, K=64, V=64, dtype="bf16")
    stages = manifest_facts.stages_of(Variant.default("fused_sm90", problem), problem)
    (reason,) = manifest_facts._unlaunchable(stages)
    assert reason.startswith("stage scan_sm90 is a Gluon kernel, which takes tensor descriptors")


def test_equal_kernels_are_one_file(small: few.Folder, manifest: dict[str, Any]) -> None:
    one, other = (_set_of(manifest, p.id()) for p in (few.DECODE, few.LARGER))
    assert one["stages"][0]["kernel"] == other["stages"][0]["kernel"]
    assert len(list(small.path.glob("*.cubin"))) == len(manifest["kernels"]) == 5


def test_a_cubin_does_not_name_where_it_was_made(small: few.Folder) -> None:
    for path in small.path.iterdir():
        assert str(small.path.parent).encode() not in path.read_bytes(), path.name


def _damaged(
    small: few.Folder, to: Path, change: Callable[[dict[str, Any], dict[str, bytes]], object]
) -> Path:
    """The export with a change to its manifest and files, all digests right."""
    manifest = manifest_of(small.path)
    files = {name: (small.path / name).read_bytes() for name in manifest.pop("files")}
    for name in ("schema", "format", "targets", "digest"):
        del manifest[name]
    change(manifest, files)
    for name, data in with_manifest("cubin", files, [], **manifest).items():
        (to / name).write_bytes(data)
    return to / MANIFEST


def _scan(manifest: dict[str, Any]) -> dict[str, Any]:
    return next(dict_ for dict_ in manifest["kernels"].values() if dict_["symbol"] == "scan")


def _rename(manifest: dict[str, Any], files: dict[str, bytes]) -> None:
    name = _scan(manifest)["file"]
    files[name] = files[name].replace(b".nv.info.scan", b".nv.info.scam")


@pytest.mark.triton
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m, f: None, None),
        (lambda m, f: _scan(m)["parameters"][-3].update(size=8),
         r"scan_\w+.cubin: parameter \d+ \(scale\) of scan has 4 bytes at offset \d+, and the "
         r"manifest says 8 at \d+; export it again."),
        (lambda m, f: _scan(m)["parameters"][2].update(offset=20),
         r"parameter 2 \(v\) of scan has 8 bytes at offset 16, and the manifest says 8 at 20"),
        (lambda m, f: _scan(m)["parameters"].pop(),
         r"scan has \d+ parameters, and the manifest says \d+; export it again."),
        (lambda m, f: _scan(m).update(symbol="walk"), "it has no function walk but scan; export"),
        (_rename, "it has no function scan but"),
        (lambda m, f: _scan(m).update(block=[32, 1, 1]),
         r"scan needs blocks of \d+ threads, and the manifest says 32; export it again."),
        (lambda m, f: f.update({_scan(m)["file"]: b"text"}), "is not a 64-bit ELF file"),
        (lambda m, f: m.pop("kernels"), "cubin.manifest.json does not describe its kernels; exp"),
        (lambda m, f: _scan(m).update(file="../x.cubin"),
         "../x.cubin, the file of a kernel, has no digest; export it again."),
    ],
)  # fmt: skip
def test_a_cubin_that_differs_from_its_manifest_is_named(
    small: few.Folder, tmp_path: Path,
    change: Callable[[dict[str, Any], dict[str, bytes]], object], says: str | None,
) -> None:  # fmt: skip
    found = cubin.faults(_damaged(small, tmp_path, change))
    if says is None:
        assert found == []
    else:
        (fault,) = found
        assert re.search(says, fault), fault


def test_an_altered_byte_is_named(
    small: few.Folder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in small.path.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert run(["export", "verify", str(tmp_path)]) == 0
    assert "each cubin has its parameters" in capsys.readouterr().out.replace("\n", " ")
    for path in tmp_path.iterdir():
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        assert run(["export", "verify", str(tmp_path)]) == 1
        assert path.name in capsys.readouterr().err.replace("\n", "")
        path.write_bytes(data)


def test_a_symbol_of_every_cubin_is_a_function_with_parameters(
    small: few.Folder, manifest: dict[str, Any]
) -> None:
    for kernel in manifest["kernels"].values():
        own = functions((small.path / kernel["file"]).read_bytes())
        assert list(own) == [kernel["symbol"]]
        assert len(own[kernel["symbol"]].parameters) == len(kernel["parameters"]) > 2


def _winners(folder: Path, *targets: tuple[str, str]) -> Path:
    bench = Bench(folder / "r.db")
    variant = Variant.default("recurrent", few.DECODE)
    for target, arch in targets:
        bench.win(few.DECODE, variant=variant, predicted=True, target=target, arch=arch)
    return bench.close()


def test_only_one_gpu_of_nvidia_is_exported(tmp_path: Path) -> None:
    two = _winners(tmp_path, ("h200", "sm_90"), ("a100", "sm_80"))
    with pytest.raises(InvalidInput, match="for one GPU, not for a100, h200; choose one with --ta"):
        cubin.exported(described([two]))
    (tmp_path / "amd").mkdir()
    other = _winners(tmp_path / "amd", ("mi300x", "gfx942"))
    with pytest.raises(InvalidInput, match="are for GPUs of NVIDIA, and the winners are for mi300"):
        cubin.exported(described([other]))


def test_other_targets_are_named_and_left_out(tmp_path: Path) -> None:
    gpu = described([_winners(tmp_path, ("h200", "sm_90"))])
    with pytest.warns(LeftOut, match=r"target cpu-\S+ is left out: cubins are for GPUs of NVIDIA."):
        assert cubin._one([*described([shipped_database()]), *gpu]) == gpu[0]


def test_what_was_left_out_is_not_counted(tmp_path: Path) -> None:
    bench = Bench(_winners(tmp_path, ("h200", "sm_90")))
    more = replace(few.DECODE, sequences=64, tokens=64)
    bench.win(more, variant=Variant.default("recurrent", more), predicted=True)
    (gpu,) = described([bench.close()])
    assert len(gpu.winners) == 2
    manifest = json.dumps({"sets": [{"problem": few.DECODE.id()}]}).encode()
    said = cubin.summary([*described([shipped_database()]), gpu], {"cubin.manifest.json": manifest})
    assert said == ["h200: 1 winner (1 predicted)"]


@pytest.mark.parametrize(
    ("arch", "capability", "exact"),
    [("sm_80", [8, 0], False), ("sm_90a", [9, 0], True), ("sm_103a", [10, 3], True)],
)
def test_an_architecture_with_a_letter_is_exact(
    arch: str, capability: list[int], exact: bool
) -> None:
    compiler = Compiler(triton="3.9.0", ptxas="13.4.59")
    found = manifest_facts.runs_on(TARGETS["h200"], arch, compiler)
    assert (found["capability"], found["exact"], found["least_driver"]) == (
        capability, exact, 13000,
    )  # fmt: skip
    with pytest.raises(InvalidInput, match="'gfx942', which is no architecture of NVIDIA"):
        manifest_facts.runs_on(TARGETS["h200"], "gfx942", compiler)


def test_one_file_with_other_promises_is_another_kernel() -> None:
    kernels: dict[str, dict[str, Any]] = {}
    one, other = ({"file": "scan_12.cubin", "options": {"num_stages": n}} for n in (1, 2))
    names = [manifest_facts._add(kernels, kernel) for kernel in (one, other, one, other)]
    assert names == ["scan_12", "scan_12.2"] * 2


def test_nothing_is_written_if_no_winner_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = Bench(tmp_path / "r.db")
    variant = Variant.default("fused", few.IN_TORCH)
    bench.win(few.IN_TORCH, variant=variant, predicted=True)
    arguments = ["--db", str(bench.close()), "-o", str(tmp_path / "out")]
    assert run(["export", "cubin", *arguments]) != 0
    said = capsys.readouterr().err.replace("\n", " ")
    assert "no winner for target h200 can be exported as cubins; the first one" in said
    assert not (tmp_path / "out").exists()


def _built_as(cubin_or_why: object, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = SimpleNamespace(triton="3.7.1", ptxas="12.8.93")
    monkeypatch.setattr(
        manifest_facts, "built",
        lambda sources, target: ({building.key_of(s): cubin_or_why for s in sources}, compiler),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("made", "says"),
    [
        ("ptxas fatal: no.", "stage recurrent does not compile: ptxas fatal: no."),
        (
            building.Cubin(
                data=b"text", arch="sm_90a", ptx="8.7", warps=1, shared=0, registers=1, stack=0
            ),
            "stage recurrent: the compiled kernel is not a 64-bit ELF file",
        ),
        (
            building.Cubin(
                data=b"", arch="sm_90a", ptx="8.7", warps=1, shared=0, registers=1, stack=0,
                refusals=("it races",),
            ),
            "stage recurrent: it races;",
        ),
    ],
)  # fmt: skip
def test_a_stage_without_a_usable_cubin_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: object, says: str
) -> None:
    _built_as(made, monkeypatch)
    found = described([_winners(tmp_path, ("h200", "sm_90"))])
    with pytest.warns(UserWarning, match="is left out"), pytest.raises(InvalidInput, match=says):
        cubin.exported(found)


def test_a_full_disk_is_not_the_winners_fault() -> None:
    job = Job(kind="cubin", payload={})
    with pytest.raises(CompileError, match="this machine could not compile: disk full; try again"):
        building._cubin(JobResult(job=job, status="fault", message="disk full"))


def test_the_manifest_is_written_as_it_is_read(small: few.Folder) -> None:
    data = (small.path / MANIFEST).read_bytes()
    assert json_bytes(json.loads(data)) == data
