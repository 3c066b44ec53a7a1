"""Predicted time of a Triton stage on a GPU, from its machine code."""

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
"""Seconds that each kernel of a CUDA graph takes besides its work."""
REACHED = {"memory": 0.85, "matrix": 0.65, "special": 0.8, "issue": 0.7}
"""Share of each peak rate that a good kernel reaches."""
WAIT_CYCLES = 60.0
"""Clock cycles that a program waits at a barrier or for a matrix product, if it runs alone."""
SCHEDULERS, SPECIAL_PER_CYCLE, LANES = 4, 16, 32
"""Of an SM: its schedulers, its special functions per cycle, and the lanes of a warp."""
FLOPS_PER_CYCLE = 256.0
"""FLOPs per cycle of an SM's vector units: 128 lanes with a multiply and an add each."""


@dataclass(frozen=True, kw_only=True)
class KernelTime:
    """The seconds that a stage needs of each resource.

    Args:
        memory, matrix, special, issue: seconds of memory traffic, matrix units, special functions
            and issue slots, which overlap.
        chain: seconds of waits within a program, one after another; they do not overlap.
    """

    memory: float
    matrix: float
    special: float
    issue: float
    chain: float

    @property
    def bound(self) -> str:
        """The name of the part that takes longest."""
        parts = asdict(self)
        return max(parts, key=lambda name: parts[name])

    @property
    def seconds(self) -> float:
        return LAUNCH + max(self.memory, self.matrix, self.special, self.issue) + self.chain


def kernel_time(
    stage: str, problem: Problem, config: Config, target: Target, resources: Resources
) -> KernelTime:
    """The predicted time of a compiled stage.

    It is the launch, plus the slowest of memory (each tensor moved once), matrix units, special
    functions and issue slots, plus the waits within a program. All but memory are counted on the SM
    that runs the most programs.

    Args:
        config: a value for every axis that the stage reads.
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
    # programs of the SM that runs the most of them
    here = -(-programs // target.sms)
    one = _of_program(resources, passes)
    work = {name: here * resources.warps * amount for name, amount in one.items()}
    clock = target.flops_fp32 / (target.sms * FLOPS_PER_CYCLE) or 1.5e9
    moved = stage_bytes(spec, problem, config) * problem.tokens * problem.HV
    return KernelTime(
        memory=_over(moved, REACHED["memory"] * target.bandwidth),
        matrix=_over(work["flops_16"], REACHED["matrix"] * target.flops_16 / target.sms)
        + _over(work["flops_tf32"], REACHED["matrix"] * target.flops_tf32 / target.sms),
        special=work["special"] * LANES / (REACHED["special"] * SPECIAL_PER_CYCLE * clock),
        issue=work["instructions"] / (REACHED["issue"] * SCHEDULERS * clock),
        chain=-(-here // resident) * one["waits"] * WAIT_CYCLES / clock,
    )


def expected_seconds(
    stage: str, problem: Problem, config: Config, target: Target, resources: Mapping[str, Any]
) -> float:
    """The predicted seconds of a stage, from resources as a worker returns them.

    Infinite if the resources are not known, for instance because nothing was compiled, and for a
    Gluon stage, whose partitions run side by side.
    """
    if not resources.get("loops") or KERNELS[stage].language == "gluon":
        return float("inf")
    known = Resources.from_json(resources)
    return kernel_time(stage, problem, config, target, known).seconds


def _of_program(resources: Resources, passes: tuple[float, ...]) -> Mapping[str, float]:
    """What one warp of a program executes in total: instructions, FLOPs and waits by name."""
    total: dict[str, float] = {}
    for loop, times in zip(resources.loops, passes, strict=True):
        for name, amount in asdict(loop.mix).items():
            total[name] = total.get(name, 0.0) + times * amount
    return total


def _over(amount: float, rate: float) -> float:
    """Seconds for an amount at a rate; 0 if the rate is not known."""
    return amount / rate if rate else 0.0
