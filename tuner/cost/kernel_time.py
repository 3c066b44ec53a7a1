"""Time of a Triton stage on a GPU, from its machine code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
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

LAUNCH = 2.5e-6
"""Seconds between the ends of two kernels of a CUDA graph."""
REACHED = {"memory": 0.85, "matrix": 0.65, "special": 0.8, "issue": 0.7}
"""Of a peak rate a good kernel reaches."""
WAIT_CYCLES = 60.0
"""Of a barrier, or of the wait for a product: what cannot be hidden in a program that is alone."""
SCHEDULERS, SPECIAL_A_CYCLE, LANES = 4, 16, 32
FLOPS_A_CYCLE = 256.0
"""Of an SM's vector units: 128 lanes of a multiply and an add."""


@dataclass(frozen=True, kw_only=True)
class KernelTime:
    """Seconds a stage is kept by each resource, and those that nothing hides.

    ``chain`` is what a program waits for itself, pass after pass of its loops.
    """

    memory: float
    matrix: float
    special: float
    issue: float
    chain: float

    @property
    def bound(self) -> str:
        """The resource that takes longest."""
        parts = asdict(self)
        return max(parts, key=lambda name: parts[name])

    @property
    def seconds(self) -> float:
        return LAUNCH + max(self.memory, self.matrix, self.special, self.issue) + self.chain


def kernel_time(
    stage: str, problem: Problem, config: Config, target: Target, resources: Resources
) -> KernelTime:
    """What a compiled stage should take.

    The slowest of memory (each tensor once), matrix units, special functions and issue slots, of
    the SM with the most programs, plus the waits of a program that follow one another.

    Args:
        config: a value for every axis the stage sees.
        resources: of the stage compiled for the target, with its loops.
    """
    spec = KERNELS[stage]
    sizes = Sizes.typical(problem, config)
    passes = trips(
        resources.loops,
        source_loops(
            render(spec, problem, config, interpret=False),
            spec.loop_bounds(problem, config, sizes),
        ),
    )
    programs = 1
    for extent in spec.grid(problem, config, sizes):
        programs *= extent
    resident = max(1, resources.occupancy.blocks)
    # of the SM that has the most to do
    here = -(-programs // target.sms)
    one = _of_program(resources, passes)
    work = {name: here * resources.warps * amount for name, amount in one.items()}
    clock = target.flops_fp32 / (target.sms * FLOPS_A_CYCLE) or 1.5e9
    moved = stage_bytes(spec, problem, config) * problem.tokens * problem.HV
    return KernelTime(
        memory=_over(moved, REACHED["memory"] * target.bandwidth),
        matrix=_over(work["flops_16"], REACHED["matrix"] * target.flops_16 / target.sms)
        + _over(work["flops_tf32"], REACHED["matrix"] * target.flops_tf32 / target.sms),
        special=work["special"] * LANES / (REACHED["special"] * SPECIAL_A_CYCLE * clock),
        issue=work["instructions"] / (REACHED["issue"] * SCHEDULERS * clock),
        chain=-(-here // resident) * one["waits"] * WAIT_CYCLES / clock,
    )


def expected_seconds(
    stage: str, problem: Problem, config: Config, target: Target, resources: Mapping[str, Any]
) -> float:
    """What a stage should take, of resources as a worker tells them; infinite without any.

    Where nothing was compiled all configs are alike: infinite, too.
    """
    if not resources.get("loops"):
        return float("inf")
    known = Resources.from_json(resources)
    return kernel_time(stage, problem, config, target, known).seconds


def _of_program(resources: Resources, passes: tuple[float, ...]) -> Mapping[str, float]:
    """What one warp of a program executes from its begin to its end."""
    total: dict[str, float] = {}
    for loop, times in zip(resources.loops, passes, strict=True):
        for name, amount in asdict(loop.mix).items():
            total[name] = total.get(name, 0.0) + times * amount
    return total


def _over(amount: float, rate: float) -> float:
    """Seconds; none where the maker does not say the rate."""
    return amount / rate if rate else 0.0
