"""Measuring: the job of a worker that times variants in one interleaved run."""

from __future__ import annotations

import gc
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from time import monotonic
from typing import Any

import torch

from gdn_ops.codegen.errors import InvalidConfig, UnknownName
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.variant import Variant
from gdn_ops.launch.bind import bind
from gdn_ops.launch.call import Call
from gdn_ops.launch.launcher import Launcher
from gdn_ops.launch.stage_launcher import StageLauncher, Workspace
from gdn_ops.tuner.measure.calls import KeptCalls
from gdn_ops.tuner.measure.interleaving import interleaved, is_cut
from gdn_ops.tuner.measure.reference_run import reference_run
from gdn_ops.tuner.measure.statistics import decided, estimate
from gdn_ops.tuner.measure.timers import Run, Sampler, timer_of

REFERENCE = "reference"
REFERENCE_SAMPLES = 10
"""Samples of the reference in finals, at most; it is timed to be compared with, not to win."""

KEPT = KeptCalls()
"""Of this process."""


def run(job: Mapping[str, Any]) -> dict[str, Any]:
    """Measure the variants of a worker's job.

    Args:
        job: problem (facts), variants (JSON), stage (a name, or None for the whole plan),
            reference, device, threads, rounds, seconds, stop_above (seconds per call, or None),
            settle and eager.

    Raises:
        GdnError: problem or variant cannot be read, rendered, compiled or launched.
    """
    problem = Problem.from_facts(job["problem"])
    return measure(
        problem,
        [Variant.from_json(variant, problem) for variant in job["variants"]],
        stage=job["stage"],
        reference=job["reference"],
        device=torch.device(job["device"]),
        threads=job["threads"],
        pace=Pace(job["rounds"], job["seconds"], job["stop_above"], job["settle"]),
        eager=job["eager"],
    )


@dataclass(frozen=True)
class Pace:
    """How long an interleaved run goes on; see ``interleaved``.

    Args:
        settle: end it before ``seconds`` once it shows which variant is the fastest, stop sampling
            a variant once it is certain not to be, and take few samples of the reference, which
            may be many times slower.
    """

    rounds: int
    seconds: float
    stop_above: float | None = None
    settle: bool = False


def measure(
    problem: Problem,
    variants: Sequence[Variant],
    *,
    stage: str | None = None,
    reference: bool = False,
    device: torch.device,
    threads: int,
    pace: Pace,
    eager: bool = True,
) -> dict[str, Any]:
    """Time variants, or one stage of each, on random inputs in one interleaved run.

    Args:
        stage: time only this stage, on what the first variant's earlier stages computed. The
            variants must have the same interface config.
        reference: also time the reference; see ``reference_run``.
        eager: if CUDA graphs are timed, also time eager calls of the variants.

    Returns:
        ``rows`` has for each variant ``id``, ``method``, ``samples`` (seconds per call),
        ``median``, ``low``, ``high``, ``cut`` (whether it was cut for being too slow) and, if CUDA
        graphs were timed, ``eager`` with the times of eager calls. ``reference`` is such a row or
        None, ``method`` that of all variants, ``conditions`` what the timer reports.

    Raises:
        InvalidConfig: the variants of a stage have different interface configs.
        CaptureError: a variant's calls cannot be captured in a CUDA graph; end this process.
        UnknownName: the variants have no such stage.
    """
    start = monotonic()
    timer = timer_of(device, threads=threads)
    launchers = {variant.id: bind(problem, variant) for variant in variants}
    with torch.no_grad(), _no_collection():
        calls = KEPT.of(problem, timer, device)
        runs = (
            {name: run_of(launcher, calls) for name, launcher in launchers.items()}
            if stage is None
            else _stage_runs(list(launchers.values()), calls, stage)
        )
        samplers = {
            name: timer.samplers(each, len(calls), all_methods=eager) for name, each in runs.items()
        }
        if reference:
            run_reference = reference_run(problem, calls)
            # it may wait for the GPU, so no graph can hold it; it is not ranked with the variants
            samplers[REFERENCE] = timer.samplers(run_reference, len(calls), eager=True)
        spent = monotonic() - start
        ours = [variant.id for variant in variants if not variant.provider]
        rows, method = _sample(samplers, replace(pace, seconds=pace.seconds - spent), ours)
    return {
        "rows": [rows[name] for name in runs],
        "reference": rows.get(REFERENCE),
        "method": method,
        "conditions": {**timer.conditions(), "sets": len(calls)},
    }


def _sample(
    samplers: Mapping[str, dict[str, Sampler]], pace: Pace, ours: Sequence[str] = ()
) -> tuple[dict[str, Any], str]:
    """Rows by contender, and the method of the variants' samples, which all of them share.

    The reference's row names its own method. Variants that were not cut are also sampled with their
    second method, if they have one.

    Args:
        ours: the variants that are not providers. A run that may settle goes on until the fastest
            of these is known too, because a provider that is faster may not be allowed to win.
    """
    variants = [name for name in samplers if name != REFERENCE] or [REFERENCE]
    method, *others = samplers[variants[0]]
    limits = {} if pace.stop_above is None else dict.fromkeys(variants, pace.stop_above)
    used = {name: next(iter(own)) for name, own in samplers.items()}
    if mixed := {used[name] for name in variants} - {method}:
        raise InvalidConfig(
            f"times by {method} and by {', '.join(sorted(mixed))} do not compare; measure these "
            "variants in separate runs."
        )
    samples = interleaved(
        {name: own[used[name]] for name, own in samplers.items()},
        rounds=pace.rounds,
        seconds=pace.seconds,
        stop_above=limits,
        at_most={REFERENCE: max(pace.rounds, REFERENCE_SAMPLES)} if pace.settle else {},
        done=partial(_done, {tuple(variants), tuple(ours) or tuple(variants)})
        if pace.settle
        else None,
    )
    rows: dict[str, Any] = {}
    for name, taken in samples.items():
        cut = name in limits and is_cut(taken, limits[name])
        rows[name] = {"id": name, "method": used[name], **_summary(taken), "cut": cut}
    kept = [name for name in variants if others and not rows[name]["cut"]]
    eager = interleaved(
        {name: samplers[name][others[0]] for name in kept}, rounds=pace.rounds, seconds=0.0
    )
    for name, taken in eager.items():
        rows[name]["eager"] = _summary(taken)
    return rows, method


def _done(groups: Collection[Sequence[str]], samples: Mapping[str, list[float]]) -> set[str]:
    """The variants that are decided in every group of which they are a part.

    If all of them are, the reference needs no more samples either.
    """
    groups_decided = [(names, decided({name: samples[name] for name in names})) for names in groups]
    open_ = {name for names, enough in groups_decided for name in names if name not in enough}
    variants = {name for names in groups for name in names}
    return variants - open_ if open_ else set(samples)


def _summary(samples: list[float]) -> dict[str, Any]:
    return {"samples": samples, **asdict(estimate(samples))}


def run_of(launcher: Launcher, calls: list[Call]) -> Run:
    """A function that runs a whole variant on an argument set."""
    if launcher.problem.op == "backward":
        return lambda i: launcher.gradients(calls[i])
    return lambda i: launcher(calls[i])


def _stage_runs(launchers: list[Launcher], calls: list[Call], stage: str) -> dict[str, Run]:
    """For each launcher a function that runs one stage, on workspaces that all of them share."""
    first = launchers[0]
    for launcher in launchers:
        variant = launcher.variant
        if (variant.plan, variant.interface) != (first.variant.plan, first.variant.interface):
            raise InvalidConfig(
                f"stage {stage} of {variant.named} and of {first.variant.named} have different "
                "interfaces; measure one interface at a time."
            )
    names = [each.name for each in first.stages]
    if stage not in names:
        raise UnknownName.of(f"stage of plan {first.variant.plan}", stage, names)
    place = names.index(stage)
    workspaces = [_prepared(first, call, place) for call in calls]
    return {
        launcher.variant.id: partial(_launch, launcher.stages[place], workspaces)
        for launcher in launchers
    }


def _prepared(launcher: Launcher, call: Call, place: int) -> Workspace:
    """A workspace on which the stages before ``place`` have run."""
    workspace = launcher.workspace(call)
    for stage in launcher.stages[:place]:
        stage.launch(workspace)
    return workspace


def _launch(stage: StageLauncher, workspaces: list[Workspace], i: int) -> None:
    stage.launch(workspaces[i])


@contextmanager
def _no_collection() -> Iterator[None]:
    """Turn off the garbage collector while samples are taken."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
