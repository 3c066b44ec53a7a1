"""A pool of workers that compiles nothing: what a kernel needs is what a test says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from gdn_ops.tuner.workers.worker_pool import Job, JobResult

Answer = Callable[[Job], JobResult]


def needing(**figures: int) -> Answer:
    """Every kernel compiles and has these figures; ``resident_warps`` for ``resident warps``."""
    named = {name.replace("_", " "): value for name, value in figures.items()}
    payload = {"figures": {"instructions": 100, **named}, "reasons": []}
    return lambda job: JobResult(job=job, status="ok", payload=payload, seconds=0.5)


def failing(status: str, message: str) -> Answer:
    """No kernel compiles."""
    return lambda job: JobResult(job=job, status=status, message=message)


class FakePool:
    """Stands in for ``WorkerPool``.

    Args:
        answer: the result of a job that compiles.
        triton: the version that a worker finds.
        file: where it finds it.
    """

    def __init__(self, answer: Answer, triton: str = "3.7.1", file: str = "/x/triton.py") -> None:
        self.answer, self.triton, self.file = answer, triton, file
        self.jobs: list[Job] = []

    def __enter__(self) -> FakePool:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def one(self, job: Job) -> JobResult:
        ptxas = dict.fromkeys(job.payload["archs"], "12.8")
        found: Mapping[str, Any] = {"triton": self.triton, "file": self.file, "ptxas": ptxas}
        return JobResult(job=job, status="ok", payload=dict(found))

    def run(self, jobs: Iterable[Job]) -> Iterator[JobResult]:
        for job in jobs:
            self.jobs.append(job)
            yield self.answer(job)
