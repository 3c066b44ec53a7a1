"""Jobs for child processes, and how they end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any


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
