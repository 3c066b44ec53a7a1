"""Counting our Triton plans with their default configs, one launch per stage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch

from bench.static.launch import Counted, Launch, Needs
from bench.static.recorder import recording
from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.module_cache import load_module
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.render import render
from gdn_ops.codegen.saved_tensors import SAVING, saved_names
from gdn_ops.codegen.schedule import running
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.tensor import TENSORS, Sizes
from gdn_ops.codegen.traffic import stage_bytes
from gdn_ops.codegen.variant import Variant
from gdn_ops.launch.torch_dtype import torch_dtype
from gdn_ops.results_path import cache_folder
from gdn_ops.tuner.workers.offline import CompileRow, compile_variants


def variants(problem: Problem, target: Target) -> list[Variant]:
    """Return the default variants of verified plans of kernels that can run the problem here."""
    found = [
        Variant.default(name, problem)
        for name, plan in PLANS.items()
        if plan.verified and any(spec.compiled for spec in plan.specs(problem))
    ]
    return [variant for variant in found if not variant.reasons(problem, target)]


def counted(
    problem: Problem,
    target: Target,
    *,
    plans: Sequence[str] | None = None,
    compile: bool = True,
) -> list[Counted]:
    """Return the launches of each plan's default variant.

    A backward is counted once for each set of tensors that the forward may save.

    Args:
        problem: a forward or backward problem.
        target: the GPU to compile for; this machine need not have it.
        plans: names of plans; default: all that can run the problem.
        compile: whether to compile; otherwise ``Launch.needs`` is None.
    """
    chosen = [v for v in variants(problem, target) if plans is None or v.plan in plans]
    names = [variant.plan for variant in chosen] if compile else []
    rows = list(compile_variants(problem, target, plans=names, timeout=300))
    return [
        _counted(name, variant, stages, problem, rows)
        for variant in chosen
        for name, stages in schedules(variant, problem).items()
    ]


def schedules(variant: Variant, problem: Problem) -> dict[str, tuple[str, ...]]:
    """Return the stages that run, by name; for a backward also with more tensors saved."""
    found = {variant.plan: running(variant, problem)}
    if problem.op == "backward":
        forward = replace(problem, op="forward")
        made_by = Variant.default(variant.plan, forward)
        for keep in SAVING:
            names = saved_names(keep, made_by, forward, variant, problem)
            stages = running(variant, problem, given=names)
            if stages not in found.values():
                found[f"{variant.plan}, keeping {keep}"] = stages
    return found


def _counted(
    name: str, variant: Variant, stages: Sequence[str], problem: Problem, rows: Iterable[CompileRow]
) -> Counted:
    compiled = {row.stage: row for row in rows if row.plan == variant.plan}
    launches: list[Launch] = []
    for stage in stages:
        spec, config = KERNELS[stage], variant.config(stage)
        if spec.language == "torch":
            launches += torch_launches(spec, problem, config)
        else:
            launches.append(_launch(spec, problem, config, compiled.get(stage)))
    return Counted(plan=name, problem=problem, launches=tuple(launches))


def _launch(spec: KernelSpec, problem: Problem, config: Config, row: CompileRow | None) -> Launch:
    moved = stage_bytes(spec, problem, config)
    if row is None or row.resources is None:
        remark = "not compiled" if row is None else row.message
        return Launch(kernel=spec.name, bytes=moved, remark=remark)
    return Launch(
        kernel=spec.name,
        bytes=moved,
        config=" ".join(f"{axis.name}={config[axis.name]}" for axis in spec.axes),
        needs=Needs.of(row.resources),
        compiled=1,
        spilling=int(row.resources.stack > 0),
        remark="; ".join(row.reasons),
    )


def torch_launches(spec: KernelSpec, problem: Problem, config: Config) -> list[Launch]:
    """Return the launches of a stage of plain PyTorch, recorded on tensors without data."""
    sizes = Sizes.typical(problem, config)
    inputs = [
        torch.empty(
            TENSORS[name].dims(problem, config, sizes),
            dtype=torch_dtype(TENSORS[name].element(problem, config)),
            device="meta",
        )
        for name in spec.inputs(problem, config)
    ]
    module = load_module(spec.name, render(spec, problem, config), cache_folder())
    with recording() as recorder:
        getattr(module, spec.name)(*inputs)
    tokens = problem.tokens * problem.HV
    return [
        Launch(kernel=f"{call.kernel} ({spec.name})", bytes=call.bytes / tokens)
        for call in recorder.calls
    ]
