"""Stage pool_decode in every layout: it compiles for every GPU and spills nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from gdn_ops.codegen.dtype import DTYPES
from gdn_ops.codegen.kernels.pool_decode import SPEC
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.targets import target_named
from gdn_ops.tuner.workers.offline import compile_job, row_of
from gdn_ops.tuner.workers.worker_pool import WorkerPool
from tests.codegen.compiled.spills import VERSION, stack_of

DECODE = Problem(
    op="pool", H=16, HV=32, K=128, V=128, dtype="bf16", tokens=32, sequences=32,
    initial_state=True, final_state=True, gate_in_kernel=True, dt_bias=True,
    qk_l2norm=True, beta_sigmoid=True, state_v_first=True,
)  # fmt: skip
VERIFY = replace(DECODE, verify=True, varlen=True, tokens=128)
IN_FLIGHT = 40_000
"""Bytes of states that an SM of an H200 must wait for at a time to run at its bandwidth."""
FEWER_IN_FLIGHT = 32_000
"""Of verification on bf16 states under Triton 3.8, which takes 178 registers, and others 168."""
SAMPLED = {
    DECODE: ("h200",),
    replace(VERIFY, state_dtype="bf16", state_v_first=False): ("h200", "mi300x"),
}
"""The baselines have decode on fp32 states on every GPU; none has verification."""
CASES = [
    pytest.param(
        problem,
        target,
        marks=() if target in SAMPLED.get(problem, ()) else pytest.mark.exhaustive,
        id=f"{problem.id()}-{target}",
    )
    for problem in (
        replace(problem, state_dtype=dtype, state_v_first=v_first)
        for problem in (DECODE, VERIFY)
        for dtype in ("fp32", "bf16")
        for v_first in (True, False)
    )
    for target in ("a100", "h200", "b200", "mi300x")
]


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
    config = SPEC.default(problem)
    job = compile_job(
        "recurrent", SPEC.name, config, problem=problem, target=target_named(target), timeout=300
    )
    row = row_of(workers.one(job))
    assert row.status == "ok", (row.message, row.reasons)
    assert row.resources is not None
    verify = problem.verify and problem.state_dtype == "bf16"
    allowed = stack_of(SPEC.name, target, problem.dtype) if verify else 0
    assert row.resources.stack <= allowed, row
    if target == "h200":
        # a program has its tile of the state in flight; docs/maths.md, "Decode"
        tile = int(config["BV"]) * problem.K * DTYPES[problem.state_dtype].bytes
        least = FEWER_IN_FLIGHT if verify and VERSION == "3.8" else IN_FLIGHT
        assert row.resources.occupancy.blocks * tile >= least, row
