"""Compilers: compile stages in other processes while another process uses the GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import inf

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.render import render
from gdn_ops.codegen.target import Target
from gdn_ops.tuner.interruption import Interruption
from gdn_ops.tuner.workers.offline import CompileRow, compile_job, row_of
from gdn_ops.tuner.workers.worker_pool import Job, JobResult
from gdn_ops.tuner.workers.workers import Workers
from gdn_ops.verify.other_states import with_other_states

COMPILE_SECONDS = 120.0
"""Time limit for one config."""

Work = Sequence[tuple[str, str, Config]]
"""Plan, stage, and a value for every axis that the stage reads."""
PendingRows = Callable[[], list[CompileRow | None]]
"""Waits for the compilers and returns a row for each piece of work; None for a PyTorch stage."""


class Compilers:
    """Compiles requested stages, and the other kernels that the accuracy gate will launch for them.

    One request runs at a time; a new one first waits for the rows of the one before it.

    Args:
        pool: where the jobs run: child processes, or nodes of a cluster.
    """

    def __init__(self, target: Target, pool: Workers, interruption: Interruption) -> None:
        self._target, self._pool, self._interruption = target, pool, interruption
        self._under_way: PendingRows | None = None
        self._until = inf

    def start(self, problem: Problem, work: Work) -> PendingRows:
        """Start to compile; the returned function waits for the results."""
        if self._under_way is not None:
            self._under_way()
        jobs = [self._job(problem, *piece) for piece in work]
        first = [job for job in jobs if job is not None]
        results = self._pool.start([*first, *self._gate_variations(problem, work)])
        known: dict[int, CompileRow] = {}

        def rows() -> list[CompileRow | None]:
            with self._interruption.waiting():
                found = [self._alone(result) for result in list(results)]
            known.update({id(result.job): row_of(result) for result in found})
            return [None if job is None else known[id(job)] for job in jobs]

        self._under_way = rows
        return rows

    def end_by(self, moment: float) -> None:
        """End the jobs of later requests at a moment of the monotonic clock."""
        self._until = moment

    def _alone(self, result: JobResult) -> JobResult:
        """A job for which the memory did not suffice is run again without others beside it."""
        return next(self._pool.start([result.job])) if result.status == "oom" else result

    def close(self) -> None:
        """Kill the child processes."""
        self._under_way = None
        self._pool.close()

    def _job(self, problem: Problem, plan: str, stage: str, config: Config) -> Job | None:
        if not KERNELS[stage].compiled:
            return None
        job = compile_job(
            plan, stage, config, problem=problem, target=self._target, timeout=COMPILE_SECONDS
        )
        return replace(job, until=self._until)

    def _gate_variations(self, problem: Problem, work: Work) -> Iterator[Job]:
        """Jobs for the kernels that only the gate launches, so that it need not wait for them."""
        for plan, stage, config in work:
            spec = KERNELS[stage]
            if not spec.compiled:
                continue
            sources = {render(spec, problem, config)}
            for other in with_other_states(problem):
                source = render(spec, other, config)
                job = self._job(other, plan, stage, config)
                if source not in sources and job is not None:
                    sources.add(source)
                    yield job
