"""Slot: a worker of a pool with its current job, and how that ends."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from gdn_ops.workers.job import Job, JobResult
from gdn_ops.workers.worker_process import GarbledAnswer, WorkerProcess

VMSTAT = Path("/proc/vmstat")
SHORT_OF_MEMORY = ("oom", "Linux killed the worker because memory ran out")

FROM_OUTSIDE = ("SIGTERM", "SIGINT", "SIGHUP", "SIGXCPU")
"""Signals that a user, a shell or a scheduler sends to every process of a job."""


@dataclass
class Slot:
    """A worker of the pool: its process, once it was needed, and its current job."""

    env: Mapping[str, str]
    process: WorkerProcess | None = None
    job: Job | None = None
    start: float = field(default=0.0)
    memory_kills: int = 0


def deadline(slot: Slot) -> float:
    """The moment of the monotonic clock at which the job of a slot is killed."""
    assert slot.job is not None
    return min(slot.start + slot.job.timeout, slot.job.until)


def answer_of(slot: Slot) -> JobResult | None:
    """Read a worker's answer; None if it is incomplete. A closed stream means a crash."""
    assert slot.process is not None and slot.job is not None
    process, job = slot.process, slot.job
    try:
        answer = process.receive()
    except EOFError:
        seconds = time.monotonic() - slot.start
        death, stderr = process.wait_for_exit()
        short = death == "SIGKILL" and memory_kills() > slot.memory_kills
        status, message = SHORT_OF_MEMORY if short else _cause_of_death(death, stderr)
        slot.process = slot.job = None
        return JobResult(job=job, status=status, message=message, stderr=stderr, seconds=seconds)
    except GarbledAnswer as error:
        seconds, stderr = time.monotonic() - slot.start, process.stderr()
        kill(slot)
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


def timed_out(slot: Slot) -> JobResult:
    """Kill a worker whose deadline is over; returns the result of its job."""
    assert slot.process is not None and slot.job is not None
    job, seconds, stderr = slot.job, time.monotonic() - slot.start, slot.process.stderr()
    kill(slot)
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


def kill(slot: Slot) -> None:
    """Kill the worker of a slot; the slot can be used again."""
    if slot.process is not None:
        slot.process.kill()
    slot.process = slot.job = None
