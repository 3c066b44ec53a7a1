"""What runs the tuner's jobs: child processes of this machine, or nodes of a cluster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from gdn_ops.tuner.workers.worker_pool import Job, JobResult


class Workers(Protocol):
    """Runs jobs side by side. A worker that crashes, hangs or is lost costs its job only."""

    def start(self, jobs: Iterable[Job]) -> Iterator[JobResult]:
        """Start jobs and return their results as they finish; read all of them."""

    def close(self) -> None:
        """Stop everything that runs."""


class OneWorker(Protocol):
    """Runs one job at a time, on the device that measures."""

    def one(self, job: Job) -> JobResult:
        """Run one job and wait for it."""

    def close(self) -> None:
        """Stop what runs."""
