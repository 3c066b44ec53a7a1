"""Compile configs of stages for a GPU, which this machine need not have, and rank them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.compiled.compile import compile_stage
from gdn_ops.codegen.compiled.races import races
from gdn_ops.codegen.compiled.resources import Resources, resources_of
from gdn_ops.codegen.errors import InvalidConfig, UnknownName, UnreadableCode
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.plan import Plan
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.variant import plan_named
from gdn_ops.results_path import cache_folder
from gdn_ops.tuner.cores import cores
from gdn_ops.tuner.spaces.config_sets import CONFIG_SETS, refusals
from gdn_ops.tuner.workers.worker_pool import Job, JobResult, WorkerPool
from gdn_ops.tuner.workers.workers import Workers

RESOURCES_UNKNOWN = "unknown"
"""Key in a worker's answer: why it could not read the resources of the compiled code."""
RACES = "races"
"""Under this name a worker lists the races of what it compiled."""
ENTRY = "entry"
"""Key in a worker's answer: the folder of Triton's cache that holds what it compiled."""


@dataclass(frozen=True, kw_only=True)
class CompileRow:
    """The result of compiling one config of a stage.

    Args:
        plan, stage, target: names.
        config: a value for every axis that the stage reads.
        status: ``ok``; ``unlaunchable``: compiled, but cannot be launched on the target;
            ``unsound``: compiled, but can go wrong whatever its inputs; ``refused``: not compiled,
            because plan or stage cannot run it; or the status of a failed job.
        reasons: why it cannot be launched or run, or how it can go wrong.
        resources: None if it was not compiled, or if they are not known.
        message: how its job failed, or why the resources are not known.
    """

    plan: str
    stage: str
    target: str
    config: Config
    status: str
    reasons: tuple[str, ...] = ()
    resources: Resources | None = None
    message: str = ""


def compile_variants(
    problem: Problem,
    target: Target,
    *,
    plans: Iterable[str] | None = None,
    stages: Iterable[str] | None = None,
    configs: str = "default",
    jobs: int | None = None,
    timeout: float = 60.0,
    pool: Workers | None = None,
) -> Iterator[CompileRow]:
    """Compile configs of a problem's stages in parallel; yield rows as they finish.

    Args:
        problem: what the stages compute.
        target: a GPU, which this machine need not have.
        plans: names; by default every plan that can run the problem on the target.
        stages: names; by default every stage of the plans that is compiled.
        configs: ``default``, ``corners`` or ``all``.
        jobs: number of worker processes; by default one per core.
        timeout: time limit for one config, in seconds.
        pool: these workers are used instead of new ones.

    Raises:
        InvalidConfig: the target is not a GPU.
        UnknownName: a plan, stage or set of configs does not exist.
    """
    if not target.gpu:
        raise InvalidConfig(
            f"there is nothing to compile for {target.name}: it is not a GPU; name one."
        )
    if configs not in CONFIG_SETS:
        raise UnknownName.of("configs", configs, CONFIG_SETS)
    work = _work(problem, target, plans, None if stages is None else tuple(stages))
    workers = WorkerPool(jobs or cores()) if pool is None else nullcontext(pool)
    refused: list[CompileRow] = []
    return _rows(workers, _jobs(work, problem, target, configs, timeout, refused), refused)


def compile_job(
    plan: str, stage: str, config: Config, *, problem: Problem, target: Target, timeout: float = 60
) -> Job:
    """The job that compiles one config; ``row_of`` reads its result."""
    payload = {
        "stage": stage,
        "problem": problem.facts(),
        "config": dict(config),
        "target": asdict(target),
    }
    return Job(kind="compile", payload=payload, timeout=timeout, tag=(plan, stage, config, target))


def row_of(result: JobResult) -> CompileRow:
    """The row of a finished ``compile_job``."""
    plan, stage, config, target = result.job.tag
    status, resources, message = result.status, None, result.message
    reasons: tuple[str, ...] = ()
    if result.payload is not None and RESOURCES_UNKNOWN in result.payload:
        message = f"resources unknown: {result.payload[RESOURCES_UNKNOWN]}"
    elif result.payload is not None:
        found = dict(result.payload)
        racing = tuple(found.pop(RACES))
        found.pop(ENTRY, None)
        resources = Resources.from_json(found)
        reasons = tuple(resources.reasons(target)) + racing
        status = "unsound" if racing else "unlaunchable" if reasons else "ok"
    return CompileRow(
        plan=plan,
        stage=stage,
        target=target.name,
        config=config,
        status=status,
        reasons=reasons,
        resources=resources,
        message=" ".join([message, *_diagnosis(result)]),
    )


def rank(row: CompileRow) -> tuple[int, int]:
    """Sort key: rows that can be launched first, then those that cannot, then failures.

    Among equal rows those with fewer spilled bytes come first. A config that spills can still be
    the fastest.
    """
    if row.resources is None:
        return (0 if row.status == "ok" else 2), 0
    return int(row.status != "ok"), row.resources.stack


def run(payload: Mapping[str, Any]) -> dict[str, Any]:
    """What a worker does for ``compile_job``: compile, read the resources and look for races."""
    spec = KERNELS[payload["stage"]]
    compiled = compile_stage(
        spec,
        Problem.from_facts(payload["problem"]),
        payload["config"],
        target=Target(**payload["target"]),
        folder=cache_folder(),
    )
    try:
        # partitions that run side by side are not followed; the interpreter finds their races
        found = [] if spec.language == "gluon" else [str(r) for r in races(compiled.asm["ttgir"])]
        resources = {**resources_of(compiled).to_json(), RACES: found}
    except UnreadableCode as error:
        resources = {RESOURCES_UNKNOWN: str(error)}  # it did compile
    return {**resources, ENTRY: None if compiled.entry is None else str(compiled.entry)}


def _diagnosis(result: JobResult) -> list[str]:
    """The first error that the compiler printed; its exception only says that a pass failed."""
    found = re.search(r": error: (.+)", result.stderr) if result.status == "compile-error" else None
    return [f"The compiler says: {found[1]}."] if found else []


def _work(
    problem: Problem,
    target: Target,
    plans: Iterable[str] | None,
    stages: tuple[str, ...] | None,
) -> list[tuple[Plan, KernelSpec]]:
    chosen = (
        [plan_named(name) for name in plans]
        if plans is not None
        else runnable_plans(problem, target)
    )
    names = [(plan, name) for plan in chosen for name in plan.stages(problem)]
    known = [name for _, name in names]
    for name in stages or ():
        if name not in known:
            raise UnknownName.of("stage of " + ", ".join(p.name for p in chosen), name, known)
    specs = [(plan, KERNELS[name]) for plan, name in names if stages is None or name in stages]
    return [(plan, spec) for plan, spec in specs if spec.compiled]


def runnable_plans(problem: Problem, target: Target) -> list[Plan]:
    """The plans whose default variant can run a problem on a target."""
    plans = PLANS.values()
    return [plan for plan in plans if not plan.reasons(problem, plan.default(problem), target)]


def _jobs(
    work: list[tuple[Plan, KernelSpec]],
    problem: Problem,
    target: Target,
    configs: str,
    timeout: float,
    refused: list[CompileRow],
) -> Iterator[Job]:
    """Yield a job for each config that can run; append a row to ``refused`` for each other one."""
    for plan, spec in work:
        for config in CONFIG_SETS[configs](spec, problem, plan):
            if reasons := refusals(spec, problem, plan, config, target):
                row = CompileRow(
                    plan=plan.name,
                    stage=spec.name,
                    target=target.name,
                    config=config,
                    status="refused",
                    reasons=tuple(reasons),
                )
                refused.append(row)
            else:
                yield compile_job(
                    plan.name, spec.name, config, problem=problem, target=target, timeout=timeout
                )


def _rows(workers: Any, jobs: Iterator[Job], refused: list[CompileRow]) -> Iterator[CompileRow]:
    with workers as pool:
        for result in pool.start(jobs):
            while refused:
                yield refused.pop(0)
            yield row_of(result)
    yield from refused
