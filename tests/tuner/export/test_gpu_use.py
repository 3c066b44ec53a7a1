"""A library for a GPU runs its own kernels; without a GPU, on the stand-in."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

from gdn_ops.codegen.variant import Variant
from gdn_ops.tuner.export.formats import wheel
from gdn_ops.tuner.export.selection import described
from gdn_ops.tuner.spaces.workloads import decode, prefill, training
from tests.results import Bench
from tests.tuner.export.gpu_use import HV, H, K, T, V

ROOT = Path(__file__).parents[3]


def test_a_library_for_a_gpu_runs_its_kernels(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "r.db")
    shape = {"H": H, "HV": HV, "K": K, "V": V, "dtype": "fp32"}
    for problem, plan in (
        (prefill(tokens=T, **shape), "split"),
        (training(tokens=T, **shape), "fused"),
        (decode(sequences=1, **shape), "recurrent"),
    ):
        bench.win(problem.bucket(), variant=Variant.default(plan, problem.bucket()))
    (content,) = wheel.exported(described([bench.close()])).values()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        archive.extractall(tmp_path / "site")
    command = ["tests.stand_in", "tests.tuner.export.gpu_use", tmp_path / "site"]
    run = subprocess.run(
        [sys.executable, "-m", *command, "gdn_ops_lib_h200"],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "GDN_VERIFY": "never", "GDN_CACHE_DIR": str(tmp_path / "cache")},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    kernels, *rest = run.stdout.splitlines()
    assert kernels.split()[1:] == [
        "bwd_gate", "bwd_scan", "bwd_total", "chunk_h", "chunk_h_only", "chunk_o", "chunk_wu",
        "gate_cumsum", "recurrent", "solve",
    ]  # fmt: skip
    said = "\n".join(rest)
    assert "exact winner: row" in said and f"{tmp_path}/site/gdn_ops_lib_h200/results.db" in said
    assert "at its first use on h200 (sm_90)" in said, "by a child process of the library itself"
    assert "the call has dtype=fp16; this library has dtype=fp32." in said
    assert "This library serves on h200 (sm_90):" in said
