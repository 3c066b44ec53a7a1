"""WorkerPool: the tuner's child processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from gdn_ops.workers.worker_pool import Job, JobResult
from gdn_ops.workers.worker_pool import WorkerPool as AnyWorkers

__all__ = ["Job", "JobResult", "WorkerPool"]

WORKER = "gdn_ops.tuner.workers.worker"


class WorkerPool(AnyWorkers):
    """Runs the tuner's jobs in child processes; see the base class for the arguments."""

    def __init__(
        self,
        size: int,
        *,
        interpret: bool = False,
        threads: int | None = None,
        cache: Path | None = None,
        env: Mapping[str, str] | None = None,
        module: str = WORKER,
        command: Sequence[str] | None = None,
    ) -> None:
        super().__init__(
            size, interpret=interpret, threads=threads, cache=cache, env=env, module=module,
            command=command,
        )  # fmt: skip
