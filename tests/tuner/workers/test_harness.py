"""The harness: what failed at its first use on this machine is not run again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest

from gdn_ops.codegen.targets import target_named
from gdn_ops.codegen.variant import Variant
from gdn_ops.tuner.deadline import Deadline
from gdn_ops.tuner.interruption import Interruption
from gdn_ops.tuner.workers.harness import LAST_JOB_SECONDS, Effort, WorkerHarness
from gdn_ops.tuner.workers.worker_pool import Job, JobResult, WorkerPool
from gdn_ops.verify import first_use
from gdn_ops.verify.verification import Place, Verification
from tests.problems import FORWARD

H200 = target_named("h200")


@pytest.mark.parametrize("status", ["timeout", "ok"])
def test_a_hang_at_the_first_use_is_a_failed_trial(
    monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    place = Place(
        device="h200", arch="sm_90", sms=132, memory=0, driver=None, triton=None, ptxas=None
    )
    kept = Verification(
        place=place, problem="", variant="", text="", code="", status=status,
        message="killed after 180 seconds", created="2026-11-30T00:00:00+00:00",
    )  # fmt: skip
    monkeypatch.setattr(first_use, "known", lambda subject, target: kept)
    harness = WorkerHarness(H200, "cuda:0", threads=1, compilers=1, interruption=Interruption())
    monkeypatch.setattr(harness, "_one", None)  # nothing may be run
    variant = Variant.default("split", FORWARD)
    if status == "ok":  # the tuner's own gate has more cases
        with pytest.raises(AttributeError):
            harness.verify(FORWARD, variant, repeats=2)
        return
    verdict = harness.verify(FORWARD, variant, repeats=2)
    assert verdict.status == "timeout"
    assert verdict.message == "at its first use on 2026-11-30: killed after 180 seconds"


def test_every_job_of_a_run_ends_soon_after_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = WorkerHarness(H200, "cuda:0", threads=1, compilers=1, interruption=Interruption())
    seen: list[Job] = []

    def record(pool: WorkerPool, jobs: Iterable[Job]) -> Iterator[JobResult]:
        new = list(jobs)
        seen.extend(new)
        return iter([JobResult(job=job, status="fault") for job in new])

    monkeypatch.setattr(WorkerPool, "start", record)
    monkeypatch.setattr(WorkerPool, "run", record)
    monkeypatch.setattr(first_use, "known", lambda subject, target: None)
    harness.end_by(Deadline(1000.0))
    variant = Variant.default("split", FORWARD)
    assert harness.verify(FORWARD, variant, repeats=2).status == "fault"
    effort = Effort(rounds=1, seconds=1.0)
    assert harness.measure(FORWARD, [variant], stage=None, effort=effort).status == "fault"
    work = [(variant.plan, stage, variant.config(stage)) for stage, _ in variant.stages]
    harness.compile(FORWARD, work)()
    assert {job.kind for job in seen} == {"verify", "measure", "compile"}
    assert {job.until for job in seen} == {1000.0 + LAST_JOB_SECONDS}
