"""WorkerPool: runs jobs in child processes, which may crash, hang or run out of memory."""

from __future__ import annotations

import select
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from gdn_ops.workers.job import Job as Job
from gdn_ops.workers.job import JobResult as JobResult
from gdn_ops.workers.slot import Slot, answer_of, deadline, kill, memory_kills, timed_out
from gdn_ops.workers.worker_process import WorkerProcess, environment

Pool = TypeVar("Pool", bound="WorkerPool")


class WorkerPool:
    """Runs jobs in parallel in child processes, which start when first needed and run many jobs.

    Use it as a context manager: the end of the block kills the child processes. On Linux they also
    end with the thread that started them, so use a pool from one thread.

    Args:
        size: number of workers.
        interpret: run kernels in Triton's interpreter.
        threads: OpenMP threads of each worker; None for the library's default.
        cache: folder in which each worker has a Triton cache of its own; None shares the user's.
        env: further environment variables.
        module: module that ``python -m`` runs as a worker.
        command: arguments of Python that run a worker, instead of a module.
    """

    def __init__(
        self,
        size: int,
        *,
        interpret: bool = False,
        threads: int | None = None,
        cache: Path | None = None,
        env: Mapping[str, str] | None = None,
        module: str = "",
        command: Sequence[str] | None = None,
    ) -> None:
        self._late: list[Job] = []
        self._command = ("-m", module) if command is None else tuple(command)
        self._slots = [
            Slot(
                environment(
                    interpret=interpret,
                    threads=threads,
                    cache=None if cache is None else cache / f"worker-{i}",
                    extra=env or {},
                )
            )
            for i in range(size)
        ]

    def __enter__(self: Pool) -> Pool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def pids(self) -> list[int]:
        """The process ids of the running workers."""
        return [slot.process.pid for slot in self._slots if slot.process is not None]

    def run(self, jobs: Iterable[Job]) -> Iterator[JobResult]:
        """Yield each job's result as it finishes, in any order.

        A job is taken from ``jobs`` only when a worker is free for it, so each job of a pool with
        one worker may depend on the result before it. Closing the iterator kills running jobs.

        Raises:
            RuntimeError: the pool is still running other jobs.
        """
        yield from self.start(jobs)

    def start(self, jobs: Iterable[Job]) -> Iterator[JobResult]:
        """Like ``run``, but when this returns, as many jobs as there are workers are running.

        Further jobs start while the results are read. Read all of them, or close the pool.

        Raises:
            RuntimeError: the pool is still running other jobs.
        """
        if self._busy():
            raise RuntimeError(
                "this pool is running other jobs; read all their results or use another pool."
            )
        waiting = iter(jobs)
        self._fill(waiting)
        return self._results(waiting)

    def one(self, job: Job) -> JobResult:
        """Run one job and wait for it."""
        (result,) = self.run([job])
        return result

    def close(self) -> None:
        """Kill every worker; the pool can be used again."""
        for slot in self._slots:
            kill(slot)

    def _results(self, waiting: Iterator[Job]) -> Iterator[JobResult]:
        try:
            yield from self._too_late()
            while self._busy():
                yield from self._finished()
                self._fill(waiting)
                yield from self._too_late()
        finally:
            self._late.clear()
            for slot in self._busy():
                kill(slot)

    def _busy(self) -> list[Slot]:
        return [slot for slot in self._slots if slot.job is not None]

    def _fill(self, waiting: Iterator[Job]) -> None:
        for slot in self._slots:
            if slot.job is None:
                job = next(waiting, None)
                while job is not None and job.until <= time.monotonic():
                    self._late.append(job)
                    job = next(waiting, None)
                if job is None:
                    return
                self._start(slot, job)

    def _too_late(self) -> Iterator[JobResult]:
        """The results of the jobs that were not started, because it was too late."""
        while self._late:
            job = self._late.pop(0)
            message = f"this {job.kind} job was not started: the time for all jobs is over"
            yield JobResult(job=job, status="fault", message=message)

    def _start(self, slot: Slot, job: Job) -> None:
        if slot.process is not None and not slot.process.alive:
            kill(slot)
        if slot.process is None:
            slot.process = WorkerProcess(self._command, slot.env)
        slot.job, slot.start, slot.memory_kills = job, time.monotonic(), memory_kills()
        slot.process.send(job.kind, job.payload)

    def _finished(self) -> list[JobResult]:
        """Wait until a job finishes, crashes or exceeds its time limit, which kills it."""
        busy = self._busy()
        late = min(deadline(slot) for slot in busy)
        poll = select.poll()  # select() refuses descriptors from 1024 on, which a server may have
        for slot in busy:
            assert slot.process is not None
            poll.register(slot.process.fileno(), select.POLLIN)
        ready = {number for number, _ in poll.poll(1e3 * max(0.0, late - time.monotonic()))}
        results = []
        for slot in busy:
            assert slot.process is not None
            if slot.process.fileno() in ready:
                results.append(answer_of(slot))
            elif time.monotonic() >= deadline(slot):
                results.append(timed_out(slot))
        return [result for result in results if result is not None]
