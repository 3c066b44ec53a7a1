"""Compile the kernels of a comparison in advance, in parallel processes.

Libraries compile at their first call, one kernel after another and again for each head count,
while the GPU waits for minutes. In parallel this takes as long as the longest one; Triton and
TileLang then find the compiled code on disk. ``python -m bench.compare.warming JOB`` runs one of
these processes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import torch

from bench.compare.cases import Case
from bench.compare.child import named
from bench.compare.inputs import inputs_of


@dataclass(frozen=True)
class Job:
    """The work of one process: a contender's calls of cases with the same op and head counts."""

    contender: str
    cases: tuple[Case, ...]

    def __str__(self) -> str:
        return f"{self.contender}, {self.cases[0].op} {self.cases[0].H}/{self.cases[0].HV}"


def warm(
    names: Sequence[str], cases: Iterable[Case], *, device: str, seconds: float, workers: int
) -> list[str]:
    """Make every contender's call of every case once, and discard the results.

    Args:
        names: the contenders.
        cases: the cases.
        device: torch device.
        seconds: time limit; the comparison itself compiles the rest.
        workers: the number of parallel processes, which share the device.

    Returns:
        The jobs that failed, with the reasons.
    """
    end = time.monotonic() + seconds
    with ThreadPoolExecutor(workers) as pool:
        jobs = _jobs(names, cases)
        reasons = pool.map(lambda job: _why_not(job, device, end - time.monotonic()), jobs)
        return [f"{job}: {why}" for job, why in zip(jobs, reasons, strict=True) if why]


def _jobs(names: Sequence[str], cases: Iterable[Case]) -> list[Job]:
    """Return the jobs, gradients first: they compile the most kernels."""
    alike: dict[tuple[Any, ...], list[Case]] = {}
    for case in cases:
        alike.setdefault((case.op, case.H, case.HV, case.D, case.dtype), []).append(case)
    jobs = [Job(name, tuple(group)) for group in alike.values() for name in names]
    return sorted(jobs, key=lambda job: job.cases[0].op != "backward")


def _why_not(job: Job, device: str, seconds: float) -> str:
    """Run a job in a new process; return its last line of output if it fails, else empty."""
    facts = {"contender": job.contender, "device": device}
    text = json.dumps({**facts, "cases": [asdict(case) for case in job.cases]})
    # Timings on the shared device are meaningless, so no autotuning result may be cached.
    environment = {**os.environ, "FLA_CACHE_RESULTS": "0", "TRITON_CACHE_AUTOTUNING": "0"}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "bench.compare.warming", text],
            env=environment, capture_output=True, text=True, timeout=max(0.0, seconds),
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return "out of time"
    if not done.returncode:
        return ""
    return (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1][:400]


def main() -> None:
    job = json.loads(sys.argv[1])
    device = torch.device(job["device"])
    _compare_no_configs()
    (contender,) = named([job["contender"]])
    for facts in job["cases"]:
        case = Case(**{**facts, "lengths": tuple(facts["lengths"])})
        if contender.refuses(case, device):
            continue
        with torch.no_grad():
            contender.bind(case, inputs_of(case, device))()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            torch.cuda.empty_cache()


def _compare_no_configs() -> None:
    """Make Triton's autotuner run each config only once, which compiles it."""
    import triton

    def run_once(call: Any, **options: Any) -> list[float]:
        call()
        return [1.0, 1.0, 1.0]

    triton.testing.do_bench = run_once


if __name__ == "__main__":
    main()
