"""What runs on the nodes: actors that pass jobs on to killable child processes of their own.

So a job that aborts, hangs or takes all memory costs that job, and the actor lives on.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

from gdn_ops.tuner.cluster.triton_cache import Entry, default_folder, read_entry, write_entry
from gdn_ops.tuner.workers.offline import ENTRY
from gdn_ops.tuner.workers.worker_pool import Job, JobResult, WorkerPool

DESCRIBE_SECONDS = 120.0
"""Time limit of the first job on a device: imports, and the start of its driver."""

Answer = dict[str, Any]
"""The fields of a ``JobResult`` but its job; builtin types, which every node can read."""


class MeasuringActor:
    """Verifies and measures on one device, one job at a time.

    Args:
        device: torch device, ``cpu`` or ``cuda:0``; Ray shows each actor its own GPU only.
        threads: CPU threads; None for PyTorch's default, at most ``cpus``.
        cpus: CPUs of the node.
    """

    def __init__(self, device: str, threads: int | None, cpus: int) -> None:
        self._device, self._cpus = device, cpus
        self._threads = 1 if cpus == 1 else threads
        if self._threads is None:
            # Ray has set it to the CPUs of the actor, and PyTorch's default is asked for
            os.environ.pop("OMP_NUM_THREADS", None)
        self._pool = WorkerPool(1, threads=self._threads)

    def describe(self) -> Answer:
        """Target and environment of the device, as ``measure.description`` gives them."""
        payload = {"device": self._device, "threads": self._threads, "cpus": self._cpus}
        answer = self.run("describe", payload, DESCRIBE_SECONDS)
        if self._threads is None and answer["payload"] is not None:
            self._threads = answer["payload"]["environment"]["threads"]
            self._pool.close()
            self._pool = WorkerPool(1, threads=self._threads)
        return answer

    def run(
        self, kind: str, payload: Mapping[str, Any], timeout: float, left: float = inf
    ) -> Answer:
        """Run a job in the child process.

        Args:
            left: seconds after which all jobs are over; see ``Job.until``.
        """
        return _answer(self._pool.one(_job(kind, payload, timeout, left)))

    def keep(self, entry: Entry | None) -> None:
        """Put what another node has compiled into this node's Triton cache."""
        if entry is not None:
            write_entry(entry, default_folder())


class CompilingActor:
    """Compiles on one node, in as many threads as Ray gives the actor, a child process each."""

    def __init__(self) -> None:
        # a child ends with the thread that started it, so each thread has its own
        self._own = threading.local()

    def ready(self) -> None:
        """Return once the actor has started."""

    def compile(
        self, kind: str, payload: Mapping[str, Any], timeout: float, left: float = inf
    ) -> tuple[Answer, Entry | None]:
        """Run a job, and read what it has left in this node's Triton cache."""
        if not hasattr(self._own, "pool"):
            self._own.pool = WorkerPool(1, threads=1)
        result = self._own.pool.one(_job(kind, payload, timeout, left))
        folder = None if result.payload is None else result.payload.get(ENTRY)
        if folder is not None:
            result = replace(result, payload={**result.payload, ENTRY: None})
        return _answer(result), None if folder is None else read_entry(Path(folder))


def _job(kind: str, payload: Mapping[str, Any], timeout: float, left: float) -> Job:
    return Job(kind=kind, payload=payload, timeout=timeout, until=time.monotonic() + left)


def _answer(result: JobResult) -> Answer:
    return {
        "status": result.status,
        "payload": result.payload,
        "message": result.message,
        "stderr": result.stderr,
        "seconds": result.seconds,
    }
