"""SideProcess: the parent's side of a fresh process that runs the code of one side."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gdn_ops.codegen.errors import GdnError, shown
from gdn_ops.results_path import RESULTS_VARIABLE
from gdn_ops.tuner.check.sides import Side
from gdn_ops.tuner.workers.worker_pool import Job, JobResult, WorkerPool
from gdn_ops.workers import worker

PROBE = Path(__file__).with_name("probe.py")

START_SECONDS = 120.0
VERIFY_SECONDS = 180.0
MEASURE_SECONDS = 120.0
"""Time limit of a measuring job, besides its samples: imports, inputs, compiling."""


SHORTEST, LONGEST = 1e-12, 1e9
"""Seconds that a call can take; their ratios and logarithms are finite."""


def is_time(value: object) -> bool:
    """Whether a value that another process or a file gives is a number of seconds of a call."""
    return type(value) in (int, float) and SHORTEST <= value <= LONGEST  # type: ignore[operator]


class SideError(GdnError):
    """A side cannot be imported, or cannot say what it runs.

    Args:
        role: ``base`` or ``head``.
    """

    def __init__(self, side: Side, why: str) -> None:
        super().__init__(f"the {side.role}, {side.label}, {why}")
        self.role = side.role


@dataclass(frozen=True)
class Samples:
    """Samples of one variant in one process, in seconds per call.

    Args:
        warnings: what disturbed them, e.g. a throttled GPU.
        clock: of the GPU, in MHz, afterwards; None if it is not known.
    """

    seconds: tuple[float, ...]
    method: str
    warnings: tuple[str, ...] = ()
    clock: float | None = None

    def __add__(self, other: Samples) -> Samples:
        warnings = tuple(dict.fromkeys(self.warnings + other.warnings))
        return Samples(self.seconds + other.seconds, self.method, warnings, other.clock)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """The median absolute deviation over the median."""
        middle = self.median
        return statistics.median(abs(x - middle) for x in self.seconds) / middle


@dataclass(frozen=True)
class Failure:
    """Why a side could not verify or measure a variant: a trial status and a sentence."""

    status: str
    message: str


class SideProcess:
    """A process that runs the code of one side. Use ``running`` to end it."""

    def __init__(self, side: Side, *, threads: int | None) -> None:
        self.side = side
        command = (str(PROBE), str(worker.__file__))
        self._pool = WorkerPool(1, threads=threads, command=command, env=_environment(side))

    def start(self) -> Iterator[JobResult]:
        """Start the process; reading the result waits until it is ready to measure."""
        return self._pool.start([Job(kind="ready", payload={}, timeout=START_SECONDS)])

    def ask(self, kind: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Run a job that must not fail.

        Raises:
            SideError: the side cannot be imported, or the job failed.
        """
        result = self._pool.one(Job(kind=kind, payload=payload, timeout=START_SECONDS))
        if result.ok and result.payload is not None:
            return result.payload
        remedy = f"name another one with --{self.side.role}"
        raise SideError(self.side, f"cannot be used: {result.message.rstrip('.')}; {remedy}.")

    def verify(self, payload: Mapping[str, Any]) -> Failure | None:
        """Run the accuracy gate on a variant; None if it is right."""
        result = self._pool.one(Job(kind="verify", payload=payload, timeout=VERIFY_SECONDS))
        if not result.ok or result.payload is None:
            return Failure(result.status, result.message)
        found = result.payload
        return None if found["status"] == "ok" else Failure(found["status"], found["message"])

    def measure(self, payload: Mapping[str, Any]) -> Samples | Failure:
        """Take samples of a variant."""
        limit = MEASURE_SECONDS + 10 * payload["seconds"]
        result = self._pool.one(Job(kind="measure", payload=payload, timeout=limit))
        if not result.ok or result.payload is None:
            return Failure(result.status, result.message)
        found = result.payload
        if wrong := [x for x in found["samples"] if not is_time(x)]:
            return Failure(
                "error", f"its timer measured {shown(wrong[0])} seconds, which is no time"
            )
        return Samples(
            tuple(found["samples"]), found["method"], tuple(found["warnings"]), found["clock"]
        )

    def close(self) -> None:
        self._pool.close()


@contextmanager
def running(sides: Sequence[Side], *, threads: int | None) -> Iterator[list[SideProcess]]:
    """A fresh process for each side, started side by side; they end with the block."""
    processes = [SideProcess(side, threads=threads) for side in sides]
    try:
        for results in [process.start() for process in processes]:
            for _ in results:
                pass  # one that cannot start says so at its first job
        yield processes
    finally:
        for process in processes:
            process.close()


def _environment(side: Side) -> dict[str, str]:
    env = {}
    if side.folder is not None:
        path = [str(side.folder), *filter(None, [os.environ.get("PYTHONPATH")])]
        env["PYTHONPATH"] = os.pathsep.join(path)
    if side.database is not None:
        env[RESULTS_VARIABLE] = str(side.database)
    return env
