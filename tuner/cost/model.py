"""The cost model of a target: predicted seconds of a variant, without running it."""

from __future__ import annotations

from dataclasses import replace

import torch

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.compiled.resources import Resources
from gdn_ops.codegen.errors import CompileError, UnsupportedProblem
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.variant import Variant
from gdn_ops.tuner.cost.kernel_time import kernel_time
from gdn_ops.tuner.cost.rates import cpu_rates
from gdn_ops.tuner.cost.torch_time import torch_seconds
from gdn_ops.tuner.workers.offline import compile_job, row_of
from gdn_ops.tuner.workers.worker_pool import WorkerPool


class CostModel:
    """Predicts variants for one target, and remembers what it compiled.

    Args:
        target: a GPU, which need not be here, or the CPU.
        pool: workers that compile for the GPU.
    """

    def __init__(self, target: Target, pool: WorkerPool) -> None:
        self.target, self.pool = target, pool
        self._resources: dict[tuple[str, str, str], Resources | str] = {}

    def seconds(self, problem: Problem, variant: Variant) -> float:
        """The seconds that a variant should take.

        Raises:
            UnsupportedProblem: the model cannot predict it, such as PyTorch stages on a GPU.
            CompileError: a stage does not compile for the target, or cannot start there.
        """
        if not self.target.gpu:
            return torch_seconds(problem, variant, cpu_rates(torch.get_num_threads()))
        return sum(
            self.stage_seconds(variant.plan, name, problem, variant.config(name))
            for name, _ in variant.stages
        )

    def stage_seconds(self, plan: str, stage: str, problem: Problem, config: Config) -> float:
        """The seconds that one stage should take on a GPU; errors as of ``seconds``."""
        spec = KERNELS[stage]
        if spec.language == "gluon":
            raise UnsupportedProblem(
                f"the cost model cannot predict stage {stage}, whose partitions run side by side; "
                f"`gdn tune` times it on {self.target.name}."
            )
        if not spec.compiled:
            if spec.negligible:
                return 0.0
            raise UnsupportedProblem(
                f"stage {stage} is plain PyTorch and the cost model predicts only compiled kernels "
                f"on {self.target.name}; `gdn tune` times it there."
            )
        self.compile([(plan, stage, problem, config)])
        found = self._resources[self._key(stage, problem, config)]
        if isinstance(found, str):
            raise CompileError(found)
        if not found.loops:
            raise UnsupportedProblem(
                f"the cost model cannot read the loops of stage {stage} on {self.target.name}; "
                "`gdn tune` times it there."
            )
        return kernel_time(stage, problem, config, self.target, found).seconds

    def compile(self, work: list[tuple[str, str, Problem, Config]]) -> None:
        """Compile stages side by side, before their seconds are asked for.

        Args:
            work: plan, stage, problem and config of each.
        """
        jobs = {}
        for plan, stage, problem, config in work:
            key = self._key(stage, problem, config)
            if key not in self._resources and KERNELS[stage].language == "triton":
                jobs[key] = compile_job(plan, stage, config, problem=problem, target=self.target)
        keys = {id(job): key for key, job in jobs.items()}
        for result in self.pool.run(iter(jobs.values())):
            row = row_of(result)
            usable = row.status == "ok" and row.resources is not None
            self._resources[keys[id(result.job)]] = (
                row.resources
                if usable and row.resources is not None
                else f"{row.stage} on {self.target.name}: {row.status} "
                f"{'; '.join(row.reasons)}{row.message}"
            )

    @staticmethod
    def _key(stage: str, problem: Problem, config: Config) -> tuple[str, str, str]:
        # a compiled stage does not depend on these sizes
        return stage, replace(problem, tokens=1, sequences=1).id(), repr(sorted(config.items()))
