"""Plan split with a vector gate: its stages compile and launch, and few of them spill."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.rule import Rule
from gdn_ops.codegen.targets import target_named
from gdn_ops.codegen.variant import Variant
from gdn_ops.tuner.workers.offline import compile_job, row_of
from gdn_ops.tuner.workers.worker_pool import WorkerPool
from tests.codegen.compiled.spills import UNLESS_IN_BASELINES

FORWARD = Problem(
    op="forward", H=16, HV=32, K=128, V=128, dtype="bf16", tokens=2048, sequences=4,
    rule=Rule("vector"), initial_state=True, final_state=True, varlen=True,
    gate_in_kernel=True, dt_bias=True,
)  # fmt: skip
BACKWARD = FORWARD.backward(final_state=True)
STAGES = [
    name for name in (*PLANS["split"].stages(BACKWARD), "chunk_o")
    if KERNELS[name].language == "triton"
]  # fmt: skip
SAMPLED = ["gate_cumsum", "bwd_dqkvg"]
"""The one that activates raw gates, and the one that spills; the baselines have all, dense."""
OTHERS = [name for name in STAGES if name not in SAMPLED]
SPILLED = {"bwd_dqkvg": 64}
"""Bytes: the sums of six gradients of a tile and two matrices of a chunk fill the registers."""


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerPool]:
    folder = tmp_path_factory.mktemp("compile")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GDN_CACHE_DIR", str(folder / "rendered"))
        with WorkerPool(2, threads=1, cache=folder / "triton") as workers:
            yield workers


@pytest.mark.triton
@pytest.mark.parametrize(
    "stages", [SAMPLED, pytest.param(OTHERS, marks=UNLESS_IN_BASELINES)], ids=["sampled", "others"]
)
def test_defaults_compile_and_launch(workers: WorkerPool, stages: list[str]) -> None:
    jobs = []
    for name in stages:
        problem = FORWARD if name == "chunk_o" else BACKWARD
        config = Variant.default("split", problem).config(name)
        target = target_named("h200")
        jobs.append(compile_job("split", name, config, problem=problem, target=target, timeout=300))
    rows = [row_of(result) for result in workers.run(jobs)]
    assert sorted(row.stage for row in rows) == sorted(stages)
    for row in rows:
        assert row.status == "ok", (row.stage, row.message, row.reasons)
        assert row.resources is not None
        assert row.resources.stack <= SPILLED.get(row.stage, 0), row
