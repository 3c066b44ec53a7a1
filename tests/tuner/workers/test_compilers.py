"""Compilers: what is compiled for a variant, and that one request waits for another."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.targets import TARGETS
from gdn_ops.codegen.variant import Variant
from gdn_ops.tuner.interruption import Interruption
from gdn_ops.tuner.spaces.workloads import decode, pool, prefill, training
from gdn_ops.tuner.workers.compilers import Compilers
from gdn_ops.tuner.workers.worker_pool import Job, JobResult, WorkerPool
from gdn_ops.verify.gate_cases import gate_cases


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[list[Job]]:
    """The jobs of each request; all of them crash."""
    log: list[list[Job]] = []

    def start(self: WorkerPool, jobs: list[Job]) -> Iterator[JobResult]:
        log.append(list(jobs))
        return iter([JobResult(job=job, status="crash") for job in jobs])

    monkeypatch.setattr(WorkerPool, "start", start)
    return log


def work(problem: Problem, plan: str) -> list[tuple[str, str, dict[str, object]]]:
    variant = Variant.default(plan, problem)
    return [(plan, stage, dict(variant.config(stage))) for stage, _ in variant.stages]


def compilers() -> Compilers:
    return Compilers(TARGETS["h200"], WorkerPool(2, threads=1), Interruption())


@pytest.mark.parametrize(
    ("problem", "plan"),
    [
        (prefill(tokens=8192), "split"),
        (prefill(tokens=8192, varlen=True, initial_state=True), "fused"),
        (training(tokens=8192), "split"),
        (decode(sequences=8), "recurrent"),
        (pool(sequences=8), "recurrent"),
    ],
)
def test_every_kernel_that_the_gate_launches_is_compiled_once(
    problem: Problem, plan: str, begun: list[list[Job]]
) -> None:
    from gdn_ops.codegen.kernels import KERNELS
    from gdn_ops.codegen.render import render

    pieces = work(problem, plan)
    rows = compilers().start(problem, pieces)()
    assert [row is None for row in rows] == [KERNELS[s].language == "torch" for _, s, _ in pieces]
    compiled = [
        render(KERNELS[job.payload["stage"]], Problem.from_facts(job.payload["problem"]),
               job.payload["config"])
        for job in begun[0]
    ]  # fmt: skip
    launched = {
        render(KERNELS[stage], case.problem, config)
        for case in gate_cases(problem, BT=64, gpu=True, interpret=False)
        for _, stage, config in pieces
        if KERNELS[stage].language == "triton"
    }
    own = {render(KERNELS[s], problem, c) for _, s, c in pieces if KERNELS[s].language == "triton"}
    assert len(compiled) == len(set(compiled))
    assert set(compiled) == launched | own


def test_a_request_waits_for_the_one_before_it(begun: list[list[Job]]) -> None:
    several = compilers()
    problem = prefill(tokens=8192)
    first = several.start(problem, work(problem, "fused")[:1])
    second = several.start(problem, work(problem, "fused")[1:2])
    assert len(begun) == 2
    # rows are known however often, and in whatever order, they are asked for
    assert [row and row.stage for row in (*second(), *first(), *first())] == [
        "solve", "gate_cumsum", "gate_cumsum",
    ]  # fmt: skip


def test_a_config_is_compiled_alone_if_the_memory_did_not_suffice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[list[Job]] = []

    def start(self: WorkerPool, jobs: list[Job]) -> Iterator[JobResult]:
        asked.append(list(jobs))
        # of the first request every job lacks memory, and then the first that is asked alone
        status = "oom" if len(asked) <= 2 else "crash"
        return iter([JobResult(job=job, status=status) for job in asked[-1]])

    monkeypatch.setattr(WorkerPool, "start", start)
    rows = compilers().start(prefill(tokens=8192), work(prefill(tokens=8192), "recurrent"))()
    assert [row.status for row in rows if row] == ["oom"]
    together, *alone = asked
    assert len(together) == len(alone) > 1
    assert all(len(jobs) == 1 for jobs in alone)
