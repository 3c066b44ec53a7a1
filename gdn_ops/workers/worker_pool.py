"""WorkerPool: runs jobs in child processes, which may crash, hang or run out of memory."""

from __future__ import annotations

import re
import select
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from gdn_ops.workers.worker_process import GarbledAnswer, WorkerProcess, environment

Pool = TypeVar("Pool", bound="WorkerPool")


@dataclass(frozen=True, kw_only=True)
class Job:
    """One job.

    Args:
        kind: a name that the worker's module gives to a job.
        payload: the argument of its function, a JSON object.
        timeout: seconds after which it is killed; the start of a new worker counts too.
        until: moment of the monotonic clock at which it is killed, or not started, in any case.
            That says nothing about the job, so its status is ``fault``.
        tag: anything that the caller wants to find on the result; it is not sent to the worker.
    """

    kind: str
    payload: Mapping[str, Any]
    timeout: float = 60.0
    until: float = inf
    tag: Any = None

    @property
    def left(self) -> float:
        """Seconds until ``until``, which another machine can use: its clock is another one."""
        return self.until - time.monotonic()


@dataclass(frozen=True, kw_only=True)
class JobResult:
    """How a job ended.

    Args:
        status: ``ok``, ``compile-error``, ``invalid``, ``oom``, ``fault``, ``error``, ``timeout``
            or ``crash``; ``fault`` is a fault of the environment, not of the job.
        payload: what its function returned, if ``ok``.
        message: why it is not ``ok``, in a sentence.
        stderr: what it printed; if it is long, only its start and end.
        seconds: how long it ran.
    """

    job: Job
    status: str
    payload: dict[str, Any] | None = None
    message: str = ""
    stderr: str = ""
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        return self.status == "ok"


@dataclass
class _Slot:
    """A worker of the pool: its process, once it was needed, and its current job."""

    env: Mapping[str, str]
    process: WorkerProcess | None = None
    job: Job | None = None
    start: float = field(default=0.0)
    memory_kills: int = 0


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
            _Slot(
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
            _kill(slot)

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
                _kill(slot)

    def _busy(self) -> list[_Slot]:
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

    def _start(self, slot: _Slot, job: Job) -> None:
        if slot.process is not None and not slot.process.alive:
            _kill(slot)
        if slot.process is None:
            slot.process = WorkerProcess(self._command, slot.env)
        slot.job, slot.start, slot.memory_kills = job, time.monotonic(), memory_kills()
        slot.process.send(job.kind, job.payload)

    def _finished(self) -> list[JobResult]:
        """Wait until a job finishes, crashes or exceeds its time limit, which kills it."""
        busy = self._busy()
        late = min(_deadline(slot) for slot in busy)
        poll = select.poll()  # select() refuses descriptors from 1024 on, which a server may have
        for slot in busy:
            assert slot.process is not None
            poll.register(slot.process.fileno(), select.POLLIN)
        ready = {number for number, _ in poll.poll(1e3 * max(0.0, late - time.monotonic()))}
        results = []
        for slot in busy:
            assert slot.process is not None
            if slot.process.fileno() in ready:
                results.append(_answer(slot))
            elif time.monotonic() >= _deadline(slot):
                results.append(_timeout(slot))
        return [result for result in results if result is not None]


def _deadline(slot: _Slot) -> float:
    assert slot.job is not None
    return min(slot.start + slot.job.timeout, slot.job.until)


def _answer(slot: _Slot) -> JobResult | None:
    """Read a worker's answer; None if it is incomplete. A closed stream means a crash."""
    assert slot.process is not None and slot.job is not None
    process, job = slot.process, slot.job
    try:
        answer = process.receive()
    except EOFError:
        seconds, stderr = time.monotonic() - slot.start, process.stderr()
        death = process.wait_for_exit()
        short = death == "SIGKILL" and memory_kills() > slot.memory_kills
        status, message = SHORT_OF_MEMORY if short else _cause_of_death(death, stderr)
        slot.process = slot.job = None
        return JobResult(job=job, status=status, message=message, stderr=stderr, seconds=seconds)
    except GarbledAnswer as error:
        seconds, stderr = time.monotonic() - slot.start, process.stderr()
        _kill(slot)
        return JobResult(
            job=job, status="crash", message=str(error), stderr=stderr, seconds=seconds
        )
    if answer is None:
        return None
    slot.job = None
    result = JobResult(job=job, stderr=process.stderr(), **answer)
    if result.status not in ("ok", "compile-error"):
        # after an illegal address every later call in the GPU context fails: use a new process
        process.kill()
        slot.process = None
    return result


def _timeout(slot: _Slot) -> JobResult:
    assert slot.process is not None and slot.job is not None
    job, seconds, stderr = slot.job, time.monotonic() - slot.start, slot.process.stderr()
    _kill(slot)
    if seconds < job.timeout:
        message = f"this {job.kind} job was ended after {seconds:.0f} s: the time for all is over"
        return JobResult(job=job, status="fault", message=message, stderr=stderr, seconds=seconds)
    message = f"killed after {job.timeout:g} seconds, the time limit of this {job.kind} job"
    return JobResult(job=job, status="timeout", message=message, stderr=stderr, seconds=seconds)


def _cause_of_death(death: str, stderr: str) -> tuple[str, str]:
    """Status and message of a crash: the last line it printed that looks like a cause."""
    if death == "SIGKILL":
        return "fault", "the worker was killed (SIGKILL), as Linux does when memory runs out"
    if death in FROM_OUTSIDE:
        return "fault", f"the worker was ended from outside ({death})"
    words = [line.strip() for line in stderr.splitlines() if line.strip()]
    telling = [line for line in words if re.search("error|fatal|assert", line, re.IGNORECASE)]
    last = (telling or words or ["it printed nothing"])[-1]
    return "crash", f"the worker died of {death}: {last}"


def memory_kills() -> int:
    """How many processes Linux has killed since its start because memory ran out; 0 if unknown."""
    with suppress(OSError, ValueError):
        for line in VMSTAT.read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


VMSTAT = Path("/proc/vmstat")
SHORT_OF_MEMORY = ("oom", "Linux killed the worker because memory ran out")

FROM_OUTSIDE = ("SIGTERM", "SIGINT", "SIGHUP", "SIGXCPU")
"""Signals that a user, a shell or a scheduler sends to every process of a job."""


def _kill(slot: _Slot) -> None:
    if slot.process is not None:
        slot.process.kill()
    slot.process = slot.job = None
