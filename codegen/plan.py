"""Plan: an ordered list of stages that computes an op, and the axes they share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gdn_ops.codegen.axis import Axis, Config
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.spec import KernelSpec, ReasonsOf
from gdn_ops.codegen.target import Target


@dataclass(frozen=True, kw_only=True)
class Plan:
    """An ordered list of stages that computes an op.

    Args:
        name: what the database and the user call it.
        doc: one line.
        axes: the interface axes, which all stages of a variant share.
        stages: names in ``KERNELS`` in the order they run, for a problem.
        refusals: reasons why the plan cannot run a problem on a target at all.
    """

    name: str
    doc: str
    axes: tuple[Axis, ...]
    stages: Callable[[Problem], tuple[str, ...]]
    refusals: ReasonsOf

    def specs(self, problem: Problem) -> tuple[KernelSpec, ...]:
        """The specs of the stages, in the order they run."""
        return tuple(KERNELS[name] for name in self.stages(problem))

    def reasons(self, problem: Problem, interface: Config, target: Target) -> list[str]:
        """Why the plan cannot run the problem on the target with this interface config."""
        return self.refusals(problem, interface, target)
