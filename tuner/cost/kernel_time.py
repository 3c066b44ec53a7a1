"""Predicted time of a compiled stage on a GPU, from its machine code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.compiled.resources import Resources
from gdn_ops.codegen.compiled.trips import source_loops, trips
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.render import render
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.tensor import Sizes
from gdn_ops.codegen.traffic import stage_bytes
from gdn_ops.tuner.cost.program import Program, partitions_of, parts_of, program_of
from gdn_ops.tuner.cost.reached import REACHED, Reached

FLOPS_PER_CYCLE = 256.0
"""FLOPs per cycle of an SM's vector units: 128 lanes with a multiply and an add each."""
USUAL_CLOCK = 1.5e9
"""Cycles per second of a GPU whose rates are not known."""


@dataclass(frozen=True, kw_only=True)
class KernelTime:
    """The seconds that a kernel needs of each resource.

    Args:
        memory, far: of device memory (each tensor moved once), and of the L2 cache.
        matrix, special, issue, path: of the units of the SM with the most programs.
        chain: of the programs' own chains of instructions, as many rounds of programs as there are.
        launch: besides the work.
        overlap: see ``Reached``.
    """

    memory: float
    far: float
    matrix: float
    special: float
    issue: float
    path: float
    chain: float
    launch: float = REACHED.launch
    overlap: float = REACHED.overlap

    @property
    def bound(self) -> str:
        """The name of the part that takes longest."""
        names = ("memory", "far", "matrix", "special", "issue", "path", "chain")
        return max(names, key=lambda name: float(getattr(self, name)))

    @property
    def seconds(self) -> float:
        units = max(self.matrix, self.special, self.issue, self.path)
        longer, shorter = max(units, self.chain), min(units, self.chain)
        norm = (1.0 + (shorter / longer) ** self.overlap) ** (1.0 / self.overlap) if longer else 0.0
        return self.launch + max(longer * norm, self.memory, self.far)


def kernel_time(
    stage: str,
    problem: Problem,
    config: Config,
    target: Target,
    resources: Resources,
    *,
    longest: int | None = None,
) -> KernelTime:
    """The predicted time of a compiled stage.

    Args:
        config: a value for every axis that the stage reads.
        resources: of the stage compiled for the target, with its loops.
        longest: tokens of the longest sequence; default: all have the same length.
    """
    spec = KERNELS[stage]
    sizes = Sizes.typical(problem, config)
    source = render(spec, problem, config, interpret=False)

    def passes(problem: Problem) -> tuple[float, ...]:
        bounds = spec.loop_bounds(problem, config, Sizes.typical(problem, config))
        in_source = source_loops(source, bounds)
        if resources.partitioned:
            return (max(loop.passes for loop in in_source),)
        return trips(resources.loops, in_source)

    usual = passes(problem)
    long = usual
    if longest is not None:
        long = passes(replace(problem, tokens=longest * problem.sequences))
    programs = 1
    for extent in spec.grid(problem, config, sizes):
        programs *= extent
    if resources.partitioned:
        parts = partitions_of(resources.loops, *usual, *long)
    else:
        parts = parts_of(resources.loops, usual, long, resources.warps)
    return program_time(
        program_of(parts, kinds=spec.program_kinds),
        programs=programs,
        resident=resources.occupancy.blocks,
        moved=stage_bytes(spec, problem, config) * problem.tokens * problem.HV,
        target=target,
    )


def program_time(
    program: Program,
    *,
    programs: int,
    resident: int,
    moved: float,
    target: Target,
    reached: Reached = REACHED,
) -> KernelTime:
    """The predicted time of a kernel whose programs are alike.

    Args:
        programs: of the launch.
        resident: the most programs that an SM runs side by side.
        moved: bytes of the kernel's tensors, each once.
    """
    # programs of the SM that runs the most of them
    here = ceil(programs / target.sms)
    rounds = ceil(here / max(1, resident))
    peak = target.flops_fp32 / (target.sms * FLOPS_PER_CYCLE) or USUAL_CLOCK
    clock = reached.clock * peak
    # of products of single warps, where those of warp groups are faster
    slow = 1.0 / reached.single - 1.0 if target.arch.startswith("sm_90") else 0.0
    share = slow * program.warp_flops / ((program.flops_16 + program.flops_tf32) or 1.0)
    products = _over(program.flops_16, target.flops_16 / target.sms)
    products += _over(program.flops_tf32, target.flops_tf32 / target.sms)
    matrix = max((1.0 + share) * products, program.matrix / clock)
    return KernelTime(
        memory=_over(moved, reached.memory * target.bandwidth),
        far=programs * program.far / (reached.far * target.sms * clock),
        matrix=here * matrix / reached.matrix,
        special=here * program.special / (reached.special * clock),
        issue=here * program.issue / (reached.issue * clock),
        path=here * program.path / (reached.path * clock),
        chain=rounds * program.chain / clock,
        launch=reached.launch,
        overlap=reached.overlap,
    )


def sums_time(stage: str, problem: Problem, config: Config, target: Target) -> float:
    """The predicted seconds of a stage of plain PyTorch that sums parts of gradients."""
    spec = KERNELS[stage]
    moved = stage_bytes(spec, problem, config) * problem.tokens * problem.HV
    launches = len(spec.outputs(problem, config)) * REACHED.launch
    return launches + _over(moved, REACHED.memory * target.bandwidth)


def expected_seconds(
    stage: str, problem: Problem, config: Config, target: Target, resources: Mapping[str, Any]
) -> float:
    """The predicted seconds of a stage, from resources as a worker returns them.

    Infinite if the resources are not known, for instance because nothing was compiled.
    """
    if not resources.get("loops"):
        return float("inf")
    known = Resources.from_json(resources)
    if not known.timed:
        return float("inf")
    return kernel_time(stage, problem, config, target, known).seconds


def _over(amount: float, rate: float) -> float:
    """Seconds for an amount at a rate; 0 if the rate is not known."""
    return amount / rate if rate else 0.0
