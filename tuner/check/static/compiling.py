"""Compiling kernels for the static check in child processes, and what the compiler is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gdn_ops.codegen.compiled.compile import Source, compile_source
from gdn_ops.codegen.errors import UnreadableCode
from gdn_ops.codegen.target import Target
from gdn_ops.results_path import cache_folder
from gdn_ops.tuner.check.static.figures import read_figures
from gdn_ops.tuner.workers.worker_pool import Job, JobResult, WorkerPool

SECONDS = 300.0
"""Time limit for compiling one kernel."""
FIGURES = "figures"
"""The cache's folder of figures."""
UNREADABLE = "unreadable"
"""Key in a worker's answer: why the figures of a kernel that compiled cannot be read."""


@dataclass(frozen=True, kw_only=True)
class Built:
    """What became of one kernel.

    Args:
        figures: None if it did not compile or cannot be read.
        reasons: its races, and why it cannot be launched.
        crashed: why it did not compile; empty if it did.
        unreadable: why its figures cannot be read; empty if they can.
        seconds: how long it took.
    """

    figures: Mapping[str, float] | None
    reasons: tuple[str, ...] = ()
    crashed: str = ""
    unreadable: str = ""
    seconds: float = 0.0


def compile_job(tag: Any, source: Source, target: Target, *, values: str, seconds: float) -> Job:
    """The job that compiles one kernel and reads its figures.

    Args:
        tag: what ``compiled`` returns with the result.
        values: the config in words, for error messages.
        seconds: time limit.
    """
    folder = cache_folder()
    payload = {
        "source": asdict(source),
        "target": asdict(target),
        "values": values,
        "folder": str(folder),
        "figures": str(folder / FIGURES),
    }
    return Job(kind="figures", payload=payload, timeout=seconds, tag=tag)


def compiled(pool: WorkerPool, jobs: Iterable[Job]) -> Iterator[tuple[Any, Built]]:
    """Yield the tag and the result of each job as it finishes."""
    for result in pool.run(jobs):
        yield result.job.tag, _built(result)


def run(payload: Mapping[str, Any]) -> dict[str, Any]:
    """What a worker does for ``compile_job``."""
    kernel = compile_source(
        Source(**payload["source"]),
        target=Target(**payload["target"]),
        folder=Path(payload["folder"]),
        values=payload["values"],
    )
    try:
        return read_figures(kernel, Path(payload["figures"]))
    except UnreadableCode as error:
        return {UNREADABLE: str(error)}


def _built(result: JobResult) -> Built:
    if result.payload is None:
        message = f"{result.status}: {result.message}"
        return Built(figures=None, crashed=message, seconds=result.seconds)
    if UNREADABLE in result.payload:
        unreadable = result.payload[UNREADABLE]
        return Built(figures=None, unreadable=unreadable, seconds=result.seconds)
    return Built(
        figures=result.payload["figures"],
        reasons=tuple(result.payload["reasons"]),
        seconds=result.seconds,
    )
