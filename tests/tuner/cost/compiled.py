"""What a compiler might report of a kernel, and a cost model for which every kernel is that one."""

from __future__ import annotations

from dataclasses import replace

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.compiled.loops import Loop, Mix
from gdn_ops.codegen.compiled.occupancy import Occupancy
from gdn_ops.codegen.compiled.resources import Resources
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.targets import target_named
from gdn_ops.tuner.cost.model import CostModel
from gdn_ops.tuner.cost.reached import REACHED
from gdn_ops.tuner.workers.worker_pool import WorkerPool

PROBLEM = Problem(op="forward", H=4, HV=8, K=64, V=64, dtype="fp32", tokens=512, sequences=1)
BF16 = replace(PROBLEM, dtype="bf16", tokens=8192)
H200 = target_named("h200")
CYCLE = H200.sms * 256 / H200.flops_fp32 / REACHED.clock


def resources(
    *, instructions: int = 100, cycles: float = 1.0, far: float = 0.0, partitioned: bool = False
) -> Resources:
    mix = Mix(instructions=instructions, cycles=cycles, far=far)
    return Resources(
        warps=4, registers=64, stack=0, shared=0, tensor_memory=0, instructions=instructions,
        matrix={}, copies={}, local=0, binary=1, seconds=0.0, cached=False,
        occupancy=Occupancy(blocks=4, warps=16, fraction=0.25, limit="registers"),
        loops=(Loop(-1, Mix()), Loop(0, mix)), partitioned=partitioned,
    )  # fmt: skip


class Compiled(CostModel):
    """A cost model for which every kernel compiles to the same code."""

    def __init__(self) -> None:
        with WorkerPool(1, threads=1) as pool:
            super().__init__(H200, pool)

    def compile(self, work: list[tuple[str, str, Problem, Config]]) -> None:
        for _, stage, problem, config in work:
            self._resources[self._key(stage, problem, config)] = resources()
