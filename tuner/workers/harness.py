"""Harness: what a search asks of a variant, answered by child processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.variant import Variant
from gdn_ops.tuner.interruption import Interruption
from gdn_ops.tuner.store.models import TRIAL_STATUSES
from gdn_ops.tuner.workers.compilers import Compilers, Work
from gdn_ops.tuner.workers.offline import CompileRow
from gdn_ops.tuner.workers.worker_pool import Job, JobResult, WorkerPool

VERIFY_SECONDS = 180.0
MEASURE_OVERHEAD_SECONDS = 90.0
"""What a measuring job may take besides its measuring: imports, inputs, a slow first call."""


@dataclass(frozen=True)
class Timing:
    """Seconds of one variant: the median and its interval, and every sample.

    Where they are of a CUDA graph, ``eager`` has median, low, high and samples of eager calls.
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
    """Whether a variant is right: ``status`` is ok or why it is not."""

    status: str
    message: str = ""
    errors: Mapping[str, float] = field(default_factory=dict)
    resources: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return self.status == "ok"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one measuring job saw.

    Args:
        timings: by variant id; empty unless ``status`` is ok.
        reference: of the reference, if it was asked for.
        conditions: threads, clocks and load while it measured.
    """

    status: str
    message: str = ""
    timings: Mapping[str, Timing] = field(default_factory=dict)
    reference: Timing | None = None
    method: str | None = None
    conditions: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How much a measurement may take.

    Args:
        rounds: samples of each variant at least.
        seconds: for all of them together; further rounds are taken until it is used.
        stop_above: a variant slower than this is left after its first samples.
        reference: the reference is timed along.
        eager: eager calls are timed beside a CUDA graph's, where there is one.
    """

    rounds: int
    seconds: float
    stop_above: float | None = None
    reference: bool = False
    eager: bool = False


PendingVerdicts = Callable[[], list[Verdict]]
"""Waits for what is under way."""


class Harness(Protocol):
    """Compiles, verifies and measures variants; every way to fail is a status."""

    def compile(self, problem: Problem, work: Work) -> PendingVerdicts:
        """Begin to compile stages side by side; all ok where nothing is compiled."""

    def verify(self, problem: Problem, variant: Variant, *, repeats: int) -> Verdict:
        """Compare a variant with the fp64 reference, ``repeats`` runs with each other."""

    def measure(
        self, problem: Problem, variants: Sequence[Variant], *, stage: str | None, effort: Effort
    ) -> Measured:
        """Time variants in turn, or one stage of them alone."""

    def close(self) -> None:
        """End the children."""


class WorkerHarness:
    """The harness that tunes: one child verifies and measures, others compile beside it.

    Args:
        device: torch device, ``cpu`` or ``cuda:0``.
        threads: of a CPU measurement.
        compilers: children that compile, on a GPU target.
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
        self._device, self._threads = device, threads
        self._interruption = interruption
        self._one = WorkerPool(1, threads=threads)
        self._compilers = Compilers(target, compilers, interruption) if target.gpu else None

    def compile(self, problem: Problem, work: Work) -> PendingVerdicts:
        """Begin to compile the Triton stages; what cannot launch here is ``invalid``."""
        if self._compilers is None:
            return lambda: [Verdict(status="ok") for _ in work]
        rows = self._compilers.start(problem, work)
        return lambda: [_compiled(row) for row in rows()]

    def verify(self, problem: Problem, variant: Variant, *, repeats: int) -> Verdict:
        """Run the accuracy gate on the device that is tuned."""
        result = self._run(
            "verify",
            {
                "problem": problem.facts(),
                "variant": variant.to_json(),
                "device": self._device,
                "interpret": False,
                "repeats": repeats,
            },
            timeout=VERIFY_SECONDS,
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
        """Time variants interleaved in one child."""
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
            },
            timeout=MEASURE_OVERHEAD_SECONDS + 3 * effort.seconds,
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

    def close(self) -> None:
        """End the children, whatever they run."""
        self._one.close()
        if self._compilers is not None:
            self._compilers.close()

    def _run(self, kind: str, payload: Mapping[str, Any], *, timeout: float) -> JobResult:
        with self._interruption.waiting():
            return self._one.one(Job(kind=kind, payload=payload, timeout=timeout))


def _status(result: JobResult) -> str:
    """A job's status as a trial's: an error that nobody foresaw is a crash."""
    return result.status if result.status in TRIAL_STATUSES else "crash"


def _compiled(row: CompileRow | None) -> Verdict:
    """What compiling says of a config; a spill is no failure, measuring will tell its price."""
    if row is None:
        return Verdict(status="ok")
    resources = {} if row.resources is None else row.resources.to_json()
    if row.status in ("unlaunchable", "unsound"):
        return Verdict(status="invalid", message="; ".join(row.reasons), resources=resources)
    status = row.status if row.status in TRIAL_STATUSES else "crash"
    return Verdict(status=status, message=row.message, resources=resources)
