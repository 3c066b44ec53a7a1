"""A kernel that compiled is no failure, whatever cannot be written or read beside it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from gdn_ops.codegen.axis import defaults
from gdn_ops.codegen.compiled import sass
from gdn_ops.codegen.compiled.compile import Compiled
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.targets import target_named
from gdn_ops.tuner.cli import compile as command
from gdn_ops.tuner.workers import kernel_check, offline
from gdn_ops.tuner.workers.harness import _compiled
from gdn_ops.tuner.workers.offline import CompileRow, compile_job, rank, row_of
from gdn_ops.tuner.workers.worker_pool import Job, JobResult, WorkerPool

PROBLEM = Problem(op="forward", H=1, HV=1, K=16, V=16, dtype="bf16", tokens=64, sequences=1)
H200 = target_named("h200")
CONFIG = {**defaults(PLANS["split"].axes), **defaults(KERNELS["gate_cumsum"].axes)}


def job() -> Job:
    return compile_job(
        "split", "gate_cumsum", CONFIG, problem=PROBLEM, target=H200, timeout=300
    )  # fmt: skip


def test_a_kernel_compiles_where_tritons_cache_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GDN_CACHE_DIR", str(tmp_path / "rendered"))
    (tmp_path / "file").write_text("")
    with WorkerPool(1, threads=1, cache=tmp_path / "file" / "triton") as pool:
        row = row_of(pool.one(job()))
    assert row.status == "ok", row.message
    assert row.resources is not None and row.resources.registers > 0


@pytest.fixture
def unknown(monkeypatch: pytest.MonkeyPatch) -> CompileRow:
    """The row of a kernel that compiled where there is no disassembler."""
    compiled = Compiled(
        stage="gate_cumsum", target=H200, warps=4, shared=0, tensor_memory=0, binary=b"",
        asm={"ttgir": ""}, seconds=1.0, cached=False,
    )  # fmt: skip

    def missing(*_: object, **__: object) -> None:
        raise FileNotFoundError("cuobjdump is not there")

    monkeypatch.setattr(sass.subprocess, "run", missing)
    monkeypatch.setattr(offline, "compile_stage", lambda *_, **__: compiled)
    payload = offline.run(job().payload)
    return row_of(JobResult(job=job(), status="ok", payload=payload))


def test_resources_that_cannot_be_read_are_unknown(unknown: CompileRow) -> None:
    assert (unknown.status, unknown.resources) == ("ok", None)
    assert "resources unknown: cuobjdump did not read the kernel" in unknown.message
    assert rank(unknown) < rank(CompileRow(**(asdict(unknown) | {"status": "compile-error"})))


def test_a_search_goes_on_without_them(unknown: CompileRow) -> None:
    verdict = _compiled(unknown)
    assert verdict.ok and verdict.resources == {}


def test_who_shows_them_says_so(unknown: CompileRow) -> None:
    checked = kernel_check._compiled(unknown, H200)
    assert checked.ok and "compiles for h200; resources unknown" in checked.what
    *cells, verdict = command._row(unknown)
    assert cells[3:] == ["-"] * 7 and verdict.startswith("ok: resources unknown")
