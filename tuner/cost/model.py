"""The cost model of a target: predicted seconds of a variant, without running it."""

from __future__ import annotations

from dataclasses import replace

import torch

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.compiled.resources import Resources
from gdn_ops.codegen.errors import CompileError, UnsupportedProblem
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.kernels.gate_solve import mild_dot
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.variant import Variant
from gdn_ops.tuner.cost.compiled_file import FINAL, CompiledFile, compiled_key
from gdn_ops.tuner.cost.kernel_time import kernel_time, sums_time
from gdn_ops.tuner.cost.rates import cpu_rates
from gdn_ops.tuner.cost.torch_time import torch_seconds
from gdn_ops.tuner.workers.offline import compile_job, row_of
from gdn_ops.tuner.workers.worker_pool import Job, WorkerPool

BY_BETA = "by_beta"
"""The value of axis ``merge_dot`` with which a program decides from its tokens."""


def executed(config: Config) -> Config:
    """The config whose code a program executes, of one whose programs decide for themselves.

    The code of both would be counted otherwise, and a program runs one. Inputs count as mild.
    """
    return (
        {**config, "merge_dot": mild_dot(config)} if config.get("merge_dot") == BY_BETA else config
    )


class CostModel:
    """Predicts variants for one target, and remembers what it compiled.

    Args:
        target: a GPU, which need not be here, or the CPU.
        pool: workers that compile for the GPU.
        spills: whether a stage whose registers spill is predicted; if not, it is an error.
        file: keeps what was compiled for later processes.
        compiled_for: a target whose code is counted instead of the target's own.
    """

    def __init__(
        self,
        target: Target,
        pool: WorkerPool,
        *,
        spills: bool = True,
        file: CompiledFile | None = None,
        compiled_for: Target | None = None,
    ) -> None:
        self.target, self.pool, self.spills, self.file = target, pool, spills, file
        self.compiled_for = compiled_for or target
        self._resources: dict[tuple[str, str, str], Resources | str] = {}
        self._seconds: dict[tuple[str, str, str], float] = {}

    def of(self, target: Target) -> CostModel:
        """The model of another target, which counts the code that is compiled for this one.

        For a target of the same architecture that is its own code. For another one it says which
        plans and configs are promising, with the target's rates and limits.
        """
        other = CostModel(
            target, self.pool, spills=self.spills, file=self.file, compiled_for=self.compiled_for
        )
        other._resources = self._resources
        return other

    def seconds(self, problem: Problem, variant: Variant, *, longest: int | None = None) -> float:
        """The seconds that a variant should take.

        Args:
            longest: tokens of the longest sequence; default: all have the same length.

        Raises:
            UnsupportedProblem: the model cannot predict it, such as PyTorch stages on a GPU.
            CompileError: a stage does not compile for the target, or cannot start there.
        """
        if not self.target.gpu:
            return torch_seconds(problem, variant, cpu_rates(torch.get_num_threads()))
        return sum(
            self.stage_seconds(variant.plan, name, problem, variant.config(name), longest=longest)
            for name, _ in variant.stages
        )

    def stage_seconds(
        self,
        plan: str,
        stage: str,
        problem: Problem,
        config: Config,
        *,
        longest: int | None = None,
    ) -> float:
        """The seconds that one stage should take on a GPU; see ``seconds``."""
        key = stage, f"{problem.id()} {longest}", repr(sorted(config.items()))
        if key not in self._seconds:
            self._seconds[key] = self._stage_seconds(plan, stage, problem, config, longest)
        return self._seconds[key]

    def _stage_seconds(
        self, plan: str, stage: str, problem: Problem, config: Config, longest: int | None
    ) -> float:
        spec = KERNELS[stage]
        if not spec.compiled:
            if spec.sums_only:
                return sums_time(stage, problem, config, self.target)
            raise UnsupportedProblem(
                f"stage {stage} is plain PyTorch and the cost model predicts only compiled kernels "
                f"on {self.target.name}; `gdn tune` times it there."
            )
        config = executed(config)
        self.compile([(plan, stage, problem, config)])
        found = self._resources[self._key(stage, problem, config)]
        if isinstance(found, str):
            raise CompileError(f"{stage} on {self.target.name}: {found}")
        if reasons := found.reasons(self.target):
            raise CompileError(f"{stage} on {self.target.name}: {'; '.join(reasons)}")
        if found.stack and not self.spills:
            raise CompileError(
                f"{stage} on {self.target.name}: registers spill, {found.stack} bytes per thread"
            )
        if not found.timed:
            raise UnsupportedProblem(
                f"the cost model cannot read the loops of stage {stage} on {self.target.name}; "
                "`gdn tune` times it there."
            )
        return kernel_time(stage, problem, config, self.target, found, longest=longest).seconds

    def compile(self, work: list[tuple[str, str, Problem, Config]]) -> None:
        """Compile stages side by side, before their seconds are asked for.

        Args:
            work: plan, stage, problem and config of each.
        """
        jobs: dict[str, Job] = {}
        asked: dict[str, list[tuple[str, str, str]]] = {}
        for plan, stage, problem, given in work:
            config = executed(given)
            key = self._key(stage, problem, config)
            if key in self._resources or not KERNELS[stage].compiled:
                continue
            # plans share stages, whose code is the same under different interfaces
            name = compiled_key(stage, problem, config, self.compiled_for.arch)
            known = None if self.file is None else self.file.known(name)
            if known is not None:
                self._resources[key] = known
                continue
            asked.setdefault(name, []).append(key)
            if name not in jobs:
                jobs[name] = compile_job(
                    plan, stage, config, problem=problem, target=self.compiled_for
                )
        names = {id(job): name for name, job in jobs.items()}
        for result in self.pool.run(iter(jobs.values())):
            row, name = row_of(result), names[id(result.job)]
            usable = row.status == "ok" and row.resources is not None
            found = (
                row.resources
                if usable and row.resources is not None
                else f"{row.status} {'; '.join(row.reasons)}{row.message}"
            )
            self._resources |= dict.fromkeys(asked[name], found)
            if self.file is not None and (usable or row.status in FINAL):
                self.file.add(name, found)

    @staticmethod
    def _key(stage: str, problem: Problem, config: Config) -> tuple[str, str, str]:
        # a compiled stage does not depend on these sizes
        return stage, replace(problem, tokens=1, sequences=1).id(), repr(sorted(config.items()))
