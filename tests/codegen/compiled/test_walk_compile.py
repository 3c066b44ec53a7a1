"""Plan recurrent with a vector gate: its stages compile for every GPU and spill nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

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

PROBLEM = Problem(
    op="forward", H=16, HV=32, K=128, V=128, dtype="bf16", tokens=2048, sequences=4,
    rule=Rule("vector"), initial_state=True, final_state=True, varlen=True,
    gate_in_kernel=True, dt_bias=True,
)  # fmt: skip
BACKWARD = PROBLEM.backward(final_state=True)
LINEAR = replace(BACKWARD, dtype="fp32", rule=Rule("vector", False))
CASES = [
    pytest.param(problem, target, marks=marks, id=f"{problem.id()}-{target}")
    for problem, target, marks in (
        (PROBLEM, "a100", UNLESS_IN_BASELINES),
        (PROBLEM, "mi300x", ()),
        (BACKWARD, "h200", UNLESS_IN_BASELINES),
        (BACKWARD, "b200", ()),
        (LINEAR, "h200", ()),
        (LINEAR, "b200", UNLESS_IN_BASELINES),
    )
]
"""Each problem on one of its GPUs, and where the baselines are of another Triton on both."""


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerPool]:
    folder = tmp_path_factory.mktemp("compile")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GDN_CACHE_DIR", str(folder / "rendered"))
        with WorkerPool(2, threads=1, cache=folder / "triton") as workers:
            yield workers


@pytest.mark.triton
@pytest.mark.parametrize(("problem", "target"), CASES)
def test_it_compiles_and_spills_nothing(workers: WorkerPool, problem: Problem, target: str) -> None:
    variant = Variant.default("recurrent", problem)
    jobs = [
        compile_job(
            "recurrent", name, variant.config(name), problem=problem,
            target=target_named(target), timeout=300,
        )
        for name in PLANS["recurrent"].stages(problem)
        if KERNELS[name].language == "triton"
    ]  # fmt: skip
    rows = [row_of(result) for result in workers.run(jobs)]
    assert len(rows) == len(jobs) > 0
    for row in rows:
        assert row.status == "ok", (row.target, row.message, row.reasons)
        assert row.resources is not None
        assert row.resources.stack == 0, row
