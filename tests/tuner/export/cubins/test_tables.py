"""The tables of packed sequences, as ``Packing`` makes them; no kernel is compiled for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.targets import TARGETS
from gdn_ops.codegen.variant import Variant
from gdn_ops.launch.packing import packing_of
from gdn_ops.tuner.check.static.compiler import Compiler
from gdn_ops.tuner.export.cubins.c_source import c_files
from gdn_ops.tuner.export.cubins.kernel_set import TABLES, kernel_set, parameters, stages_of
from gdn_ops.tuner.export.cubins.manifest_facts import runs_on
from gdn_ops.tuner.spaces.workloads import prefill, training
from tests.tuner.export.cubins import loader as in_c
from tests.tuner.export.cubins.loader import COMPILER, STRICT, Device, Loader, compiled, stand_in

H200 = TARGETS["h200"]
PROBLEMS = {
    "split": replace(prefill(tokens=8192, sequences=4), varlen=True).bucket(),
    "segmented": replace(training(tokens=8192, sequences=4, HV=16), varlen=True).bucket(),
}
SETS = {plan: (problem, Variant.default(plan, problem)) for plan, problem in PROBLEMS.items()}


def _kernels(problem: Problem, variant: Variant) -> dict[str, Any]:
    """The kernels of a variant by their stage, as the manifest has them, without cubins."""
    facts = {"bytes": 0, "block": [32, 1, 1], "shared": 0}
    return {
        spec.name: {
            "file": "", "symbol": spec.name, **facts,
            "parameters": parameters(spec, problem, config, H200),
        }
        for spec, config in stages_of(variant, problem)
    }  # fmt: skip


@pytest.fixture(scope="module")
def sets() -> list[dict[str, Any]]:
    return [
        kernel_set(variant, problem, {name: name for name in _kernels(problem, variant)})
        for problem, variant in SETS.values()
    ]


@pytest.fixture(scope="module")
def loader(sets: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Loader:
    if COMPILER is None:
        pytest.skip("this machine has no C compiler (cc, gcc or clang)")
    root: Path = tmp_path_factory.mktemp("tables")
    kernels: dict[str, Any] = {}
    for problem, variant in SETS.values():
        kernels |= _kernels(problem, variant)
    device = runs_on(H200, "sm_90a", Compiler(triton="3.9.0", ptxas="13.4.59"))
    for name, data in c_files({"sets": sets, "kernels": kernels, "runs_on": device}).items():
        (root / name).write_bytes(data)
    library = compiled(root / "gdn_kernels.c", root / "loader.so", *STRICT)
    return Loader(library, Device(stand_in(root)))


@pytest.mark.parametrize("plan", SETS)
@pytest.mark.parametrize(
    "offsets", [[0, 1], [0, 0, 64, 64], [0, 65, 129, 130], [0, 0], [0, 5000, 5000, 6024, 8191]]
)
def test_tables_are_those_of_a_packing(
    loader: Loader, sets: list[dict[str, Any]], plan: str, offsets: list[int]
) -> None:
    problem, variant = SETS[plan]
    own = next(s for s in sets if s["problem"] == problem.id())
    interface = dict(variant.interface)
    BT, SEG = int(interface["BT"]), int(interface.get("SEG", 0))
    packing = packing_of(torch.tensor(offsets, dtype=torch.int32), offsets[-1] + 7)
    expected = {"cu_seqlens": packing.cu_seqlens}
    expected["chunk_indices"], expected["chunk_offsets"], _ = packing.chunks(BT)
    if SEG:
        (
            expected["cu_segments"], expected["sequence_of"], expected["segment_offsets"], _,
        ) = packing.segments(BT * SEG)  # fmt: skip
    call = in_c.Call(B=1, T=offsets[-1] + 7, N=len(offsets) - 1)
    numbers = (in_c.c.c_int32 * len(offsets))(*offsets)
    call.offsets = numbers
    found = loader.tables(loader.find(problem.id()), call)
    names = [b["name"] for b in own["buffers"] if b["role"] == "table"]
    assert set(names) == (set(TABLES) if SEG else {"cu_seqlens", "chunk_indices", "chunk_offsets"})
    for name in names:
        data = expected[name].numpy().tobytes()
        padded = data.ljust(-(-len(data) // 256) * 256, b"\0")
        assert found[: len(padded)] == padded, name
        found = found[len(padded) :]
    assert found == b""
