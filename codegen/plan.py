"""Plan: the stages that compute an op, in order, and the axes that they share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from gdn_ops.codegen.axis import Axis, Config, Value, defaults
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.spec import DefaultsOf, KernelSpec, ReasonsOf
from gdn_ops.codegen.target import Target


def _no_reasons(problem: Problem, target: Target) -> list[str]:
    return []


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The stages that compute an op, in order, and the axes that they share.

    Args:
        name: what users and the database call it.
        doc: how it computes, in one line.
        axes: the interface axes, whose values all stages of a variant share.
        stages: names in ``KERNELS``, in the order in which they run for a problem.
        refusals: reasons why the plan cannot run a problem on a target; see ``reasons``.
        problem_defaults: values that replace the axes' defaults for a problem; see ``default``.
        verified: whether its kernels have run on a GPU. Without, calls run on the plan only where
            it was tuned or is asked for by name: it is not predicted, and ships no variant.
        unasked: reasons why the plan is no default for a problem on a target although it could be.
    """

    name: str
    doc: str
    axes: tuple[Axis, ...]
    stages: Callable[[Problem], tuple[str, ...]]
    refusals: ReasonsOf
    verified: bool = True
    unasked: Callable[[Problem, Target], list[str]] = _no_reasons
    problem_defaults: DefaultsOf = field(default=lambda problem: {})

    def default(self, problem: Problem) -> dict[str, Value]:
        """The conservative config of the plan's axes for a problem."""
        return {**defaults(self.axes), **self.problem_defaults(problem)}

    def specs(self, problem: Problem) -> tuple[KernelSpec, ...]:
        """The specs of the stages for a problem, in the order in which they run."""
        return tuple(KERNELS[name] for name in self.stages(problem))

    def reasons(self, problem: Problem, interface: Config, target: Target) -> list[str]:
        """Why the plan cannot run the problem on the target; empty if it can.

        Args:
            interface: a value for each of the plan's axes.
        """
        return self.refusals(problem, interface, target)
