"""The tuner's own time per trial: a search on a GPU target whose harness answers at once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from zlib import crc32

from bench.store.filling import environment_of
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.targets import target_named
from gdn_ops.codegen.variant import Variant
from gdn_ops.tuner.deadline import NO_DEADLINE, Deadline
from gdn_ops.tuner.report.progress import Event, TrialEnded
from gdn_ops.tuner.search.space_search import Options, search
from gdn_ops.tuner.search.trial_runner import Context, TrialRunner
from gdn_ops.tuner.spaces.space import plans_for
from gdn_ops.tuner.store.db import open_database
from gdn_ops.tuner.store.store import Store
from gdn_ops.tuner.workers.compilers import Work
from gdn_ops.tuner.workers.harness import Effort, Measured, PendingVerdicts, Timing, Verdict

PROBLEM = Problem(op="forward", H=16, HV=32, K=128, V=128, dtype="bf16", tokens=8192, sequences=1)
TARGET, PLAN, STAGE = "h200", "fused", "solve"
"""A stage with some ten thousand valid configs."""
OK = Verdict(status="ok", errors={"o": 1e-6}, resources={"registers": 96, "stack": 0})


class Instant:
    """A harness that compiles, verifies and measures nothing."""

    def end_by(self, deadline: Deadline) -> None:
        pass

    def compile(self, problem: Problem, work: Work) -> PendingVerdicts:
        return lambda: [OK for _ in work]

    def verify(self, problem: Problem, variant: Variant, *, repeats: int) -> Verdict:
        return OK

    def measure(
        self, problem: Problem, variants: Sequence[Variant], *, stage: str | None, effort: Effort
    ) -> Measured:
        return Measured(
            status="ok",
            timings={variant.id: _timing(variant) for variant in variants},
            reference=Timing(1.0, 1.0, 1.0, (1.0,)) if effort.reference else None,
            method="cuda-graph",
        )

    def wait_until_calm(self, seconds: float) -> None:
        pass

    def close(self) -> None:
        pass


def seconds_per_trial(path: Path, *, trials: int, strategy: str, last: int) -> float:
    """CPU seconds of this process per trial, over the last trials of a search.

    Args:
        path: a new database.
    """
    target, moments = target_named(TARGET), [time.process_time()]

    def report(event: Event) -> None:
        if isinstance(event, TrialEnded):
            moments.append(time.process_time())

    with open_database(path, create=True) as database:
        store = Store(database)
        context = Context(
            store=store, harness=Instant(), target=target,
            environment=store.add_environment(environment_of(target)),
            run=store.start_run("bench", target.name, seed=0, options={}), report=report,
        )  # fmt: skip
        problem = PROBLEM.bucket()
        (spaces, *_) = plans_for(problem, target, [PLAN])[PLAN]
        space = next(space for space in spaces if space.stage == STAGE)
        options = Options(trials=trials, strategy=strategy)
        search(space, TrialRunner(context, problem), options=options, deadline=NO_DEADLINE)
    moments = moments[-last - 1 :]
    return (moments[-1] - moments[0]) / (len(moments) - 1)


def _timing(variant: Variant) -> Timing:
    seconds = 1e-3 * (1 + crc32(variant.id.encode()) / 2**32)
    return Timing(seconds, 0.99 * seconds, 1.01 * seconds, (seconds,) * 5)
