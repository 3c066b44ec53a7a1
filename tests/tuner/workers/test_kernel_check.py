"""The check of kernels without a GPU asks for stages that its target compiles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.targets import target_named
from gdn_ops.tuner.interruption import Interruption
from gdn_ops.tuner.workers import kernel_check, offline
from gdn_ops.tuner.workers.kernel_check import check_kernels
from gdn_ops.tuner.workers.worker_pool import Job, JobResult

H200 = target_named("h200")


class Recording:
    """Workers that note each job and say that it was not done."""

    def __init__(self, jobs: list[Job]) -> None:
        self.jobs = jobs

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def one(self, job: Job) -> JobResult:
        self.jobs.append(job)
        return JobResult(job=job, status="timeout", message="not done")

    def start(self, jobs: Iterable[Job]) -> Iterator[JobResult]:
        return map(self.one, jobs)


def test_every_plan_that_runs_on_the_target_is_interpreted_and_compiled(monkeypatch):
    jobs: list[Job] = []
    for module in (kernel_check, offline):
        monkeypatch.setattr(module, "WorkerPool", lambda *_, **__: Recording(jobs))
    problem = Problem(
        op="forward", H=16, HV=32, K=128, V=128, dtype="bf16", tokens=2048, sequences=1
    )

    rows = list(check_kernels(problem, H200, seconds=60.0, workers=1, interruption=Interruption()))

    interpreted = {row.plan for row in rows if row.interpreted}
    compiled = {row.stage for row in rows if not row.interpreted}
    assert {"fused", "fused_sm90", "recurrent"} <= interpreted
    assert {"scan", "scan_sm90", "bwd_walks_sm90"} <= compiled
    assert not {"scan_sm100", "torch_chunk"} & compiled
    assert {job.kind for job in jobs} == {"verify", "compile"}
