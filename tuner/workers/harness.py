"""Harness: compiles, verifies and measures variants in child processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, Protocol

from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.variant import Variant
from gdn_ops.tuner.deadline import Deadline
from gdn_ops.tuner.interruption import Interruption
from gdn_ops.tuner.store.models import TRIAL_STATUSES
from gdn_ops.tuner.workers.compilers import Compilers, Work
from gdn_ops.tuner.workers.offline import CompileRow
from gdn_ops.tuner.workers.worker_pool import Job, JobResult, WorkerPool
from gdn_ops.tuner.workers.workers import OneWorker

VERIFY_SECONDS = 180.0
PROVIDER_SECONDS = 600.0
"""More time for the first calls of a provider, which may compile for minutes."""
LAST_JOB_SECONDS = 30.0
"""A job that is under way at the deadline of the run is ended this much after it."""
MEASURE_OVERHEAD_SECONDS = 90.0
"""Time limit of a measuring job for what is not measured: imports, inputs, a slow first call."""


@dataclass(frozen=True)
class Timing:
    """Seconds of one variant: the median, the bounds of its interval, and every sample.

    If these are of a CUDA graph, ``eager`` has median, low, high and samples of eager calls.
    """

    median: float
    low: float
    high: float
    samples: tuple[float, ...] = ()
    eager: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Timing:
        samples = tuple(row["samples"])
        return cls(row["median"], row["low"], row["high"], samples, row.get("eager"))


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether a variant is right; ``status`` is ok, or how it failed."""

    status: str
    message: str = ""
    errors: Mapping[str, float] = field(default_factory=dict)
    resources: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return self.status == "ok"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The result of one measuring job.

    Args:
        timings: by variant id; empty unless ``status`` is ok.
        reference: timing of the reference, if it was asked for.
        method: how the variants were timed, e.g. ``cuda-graph``.
        conditions: threads, clocks and load during the measurement, and ``warnings`` about them.
    """

    status: str
    message: str = ""
    timings: Mapping[str, Timing] = field(default_factory=dict)
    reference: Timing | None = None
    method: str | None = None
    conditions: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How much is measured.

    Args:
        rounds: samples of each variant, at least.
        seconds: time for all samples together; further rounds are taken until it is used up.
        stop_above: a variant that takes more seconds than this gets no more samples after its
            first ones.
        reference: also time the reference.
        eager: if CUDA graphs are timed, also time eager calls.
        settle: end before ``seconds`` once the fastest variant is known, or a tie.
    """

    rounds: int
    seconds: float
    stop_above: float | None = None
    reference: bool = False
    eager: bool = False
    settle: bool = False


PendingVerdicts = Callable[[], list[Verdict]]
"""Waits for the compilers and returns a verdict for each piece of work."""


class Harness(Protocol):
    """Compiles, verifies and measures variants; every failure is a status, not an exception."""

    def end_by(self, deadline: Deadline) -> None:
        """Set when the run should be over; a job that is ended for that is a ``fault``."""

    def compile(self, problem: Problem, work: Work) -> PendingVerdicts:
        """Start to compile stages side by side; a stage that needs no compiler is ok."""

    def verify(self, problem: Problem, variant: Variant, *, repeats: int) -> Verdict:
        """Compare a variant with the fp64 recurrence, and ``repeats`` runs with each other."""

    def measure(
        self, problem: Problem, variants: Sequence[Variant], *, stage: str | None, effort: Effort
    ) -> Measured:
        """Time variants in turn; with ``stage``, only that stage of each."""

    def wait_until_calm(self, seconds: float) -> bool:
        """Wait at most so long until other processes leave the measuring machine alone.

        Returns:
            Whether they do.
        """

    def close(self) -> None:
        """End the child processes."""


class JobHarness:
    """A harness that makes jobs of what it is asked, and verdicts of their results.

    Args:
        device: the name of the torch device where the jobs run, ``cpu`` or ``cuda:0``.
        threads: CPU threads of a measurement.
        one: runs the jobs that verify and measure.
        compilers: None on a CPU target.
    """

    def __init__(
        self,
        target: Target,
        device: str,
        *,
        threads: int,
        one: OneWorker,
        compilers: Compilers | None,
        interruption: Interruption,
    ) -> None:
        self._target, self._device, self._threads = target, device, threads
        self._interruption = interruption
        self._until = inf
        self._one, self._compilers = one, compilers

    def end_by(self, deadline: Deadline) -> None:
        """End jobs ``LAST_JOB_SECONDS`` after the deadline, and start none from then on."""
        self._until = deadline.moment + LAST_JOB_SECONDS
        if self._compilers is not None:
            self._compilers.end_by(self._until)

    def compile(self, problem: Problem, work: Work) -> PendingVerdicts:
        """Start to compile the Triton stages; a config that cannot be launched is ``invalid``."""
        if self._compilers is None:
            return lambda: [Verdict(status="ok") for _ in work]
        rows = self._compilers.start(problem, work)
        return lambda: [_compiled(row) for row in rows()]

    def verify(self, problem: Problem, variant: Variant, *, repeats: int) -> Verdict:
        """Run the accuracy gate on the device."""
        result = self._run(
            "verify",
            {
                "problem": problem.facts(),
                "variant": variant.to_json(),
                "device": self._device,
                "interpret": False,
                "repeats": repeats,
            },
            timeout=VERIFY_SECONDS + PROVIDER_SECONDS * bool(variant.provider),
        )
        payload = result.payload
        if not result.ok or payload is None:
            return Verdict(status=_status(result), message=result.message)
        return Verdict(
            status=payload["status"],
            message=payload.get("message", ""),
            errors=payload.get("errors", {}),
        )

    def measure(
        self, problem: Problem, variants: Sequence[Variant], *, stage: str | None, effort: Effort
    ) -> Measured:
        """Time variants in turn in one child process."""
        result = self._run(
            "measure",
            {
                "problem": problem.facts(),
                "variants": [variant.to_json() for variant in variants],
                "stage": stage,
                "reference": effort.reference,
                "eager": effort.eager,
                "device": self._device,
                "threads": self._threads,
                "rounds": effort.rounds,
                "seconds": effort.seconds,
                "stop_above": effort.stop_above,
                "settle": effort.settle,
            },
            timeout=MEASURE_OVERHEAD_SECONDS
            + 3 * effort.seconds
            + PROVIDER_SECONDS * any(variant.provider for variant in variants),
        )
        payload = result.payload
        if not result.ok or payload is None:
            return Measured(status=_status(result), message=result.message)
        reference = payload.get("reference")
        return Measured(
            status="ok",
            timings={row["id"]: Timing.of(row) for row in payload["rows"]},
            reference=None if reference is None else Timing.of(reference),
            method=payload["method"],
            conditions=payload["conditions"],
        )

    def wait_until_calm(self, seconds: float) -> bool:
        """Wait in the process that measures, whose machine need not be this one."""
        timeout = MEASURE_OVERHEAD_SECONDS + seconds
        payload = self._run("calm", {"seconds": seconds}, timeout=timeout).payload
        return payload is not None and bool(payload["calm"])

    def close(self) -> None:
        """Kill the child processes."""
        self._one.close()
        if self._compilers is not None:
            self._compilers.close()

    def _run(self, kind: str, payload: Mapping[str, Any], *, timeout: float) -> JobResult:
        with self._interruption.waiting():
            job = Job(kind=kind, payload=payload, timeout=timeout, until=self._until)
            return self._one.one(job)


class WorkerHarness(JobHarness):
    """The harness of this machine: one child process verifies and measures, others compile.

    Args:
        device: torch device, ``cpu`` or ``cuda:0``.
        threads: CPU threads of the child that verifies and measures.
        compilers: number of child processes that compile; none on a CPU target.
    """

    def __init__(
        self,
        target: Target,
        device: str,
        *,
        threads: int,
        compilers: int,
        interruption: Interruption,
    ) -> None:
        pool = WorkerPool(compilers, threads=1) if target.gpu else None
        super().__init__(
            target, device, threads=threads, one=WorkerPool(1, threads=threads),
            compilers=None if pool is None else Compilers(target, pool, interruption),
            interruption=interruption,
        )  # fmt: skip

    def verify(self, problem: Problem, variant: Variant, *, repeats: int) -> Verdict:
        """Run the accuracy gate on the device, unless the variant failed at its first use there."""
        if self._target.gpu:
            # imports PyTorch, which commands that only read do without
            from gdn_ops.verify.first_use import Subject, known

            found = known(Subject(problem, variant), self._target)
            if found is not None and not found.ok:
                message = f"at its first use on {found.created[:10]}: {found.message}"
                return Verdict(status=found.status, message=message)
        return super().verify(problem, variant, repeats=repeats)


def _status(result: JobResult) -> str:
    """The trial status for a job's status; an unknown error counts as a crash."""
    return result.status if result.status in TRIAL_STATUSES else "crash"


def _compiled(row: CompileRow | None) -> Verdict:
    """The verdict of compiling a config. A spill is no failure: measuring shows its cost."""
    if row is None:
        return Verdict(status="ok")
    resources = {} if row.resources is None else row.resources.to_json()
    if row.status in ("unlaunchable", "unsound"):
        return Verdict(status="invalid", message="; ".join(row.reasons), resources=resources)
    status = row.status if row.status in TRIAL_STATUSES else "crash"
    return Verdict(status=status, message=row.message, resources=resources)
