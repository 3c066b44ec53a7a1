"""Space: the configs of one stage under one interface, minus what cannot run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

from gdn_ops.codegen.axis import Axis, Config, Value, defaults
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.variant import Variant, plan_named
from gdn_ops.tuner.store_records import TrialKey

Point = tuple[Value, ...]
"""A config of a space as its values alone, in the order of its axes: hashable."""


@dataclass(frozen=True)
class Space:
    """The configs of one stage of a plan for a problem on a target, its interface fixed.

    The stage of a plan with a single stage is the plan: its trials are of scope ``plan``. A stage
    among others is timed alone, scope ``stage``.

    Args:
        interface: a value for every interface axis of the plan, as pairs.
    """

    problem: Problem
    target: Target
    plan: str
    interface: tuple[tuple[str, Value], ...]
    stage: str

    @property
    def spec(self) -> KernelSpec:
        return KERNELS[self.stage]

    @property
    def axes(self) -> tuple[Axis, ...]:
        return self.spec.axes

    @cached_property
    def alone(self) -> bool:
        """Whether the stage is one among others, so that it is timed apart from them."""
        return len(PLANS[self.plan].stages(self.problem)) > 1

    @property
    def shared(self) -> dict[str, Value]:
        """The interface as far as this stage reads it.

        Interfaces that agree in it share this stage's trials.
        """
        if not self.alone:
            return dict(self.interface)
        return {name: value for name, value in self.interface if name in self.spec.shared}

    @property
    def label(self) -> str:
        """The stage and its interface, e.g. ``solve BT=64 store=io``."""
        return " ".join([self.stage, *(f"{name}={value}" for name, value in self.shared.items())])

    @property
    def axes_hash(self) -> str:
        """Of the axes' names and values: what is remembered of other axes is of no use."""
        text = repr([(axis.name, axis.values) for axis in self.axes])
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    @property
    def default(self) -> dict[str, Value]:
        """The stage's default config for the problem."""
        return self.spec.default(self.problem)

    @cached_property
    def first(self) -> Config | None:
        """The default config if it is valid, else the first valid one, None if there is none."""
        return next((c for c in (self.default, *self._product()) if not self.reasons(c)), None)

    @cached_property
    def configs(self) -> tuple[Config, ...]:
        """Every valid config, ``first`` first, the others in the axes' order."""
        valid = [config for config in self._product() if not self.reasons(config)]
        return tuple(sorted(valid, key=lambda config: config != self.first))

    def _product(self) -> Iterator[dict[str, Value]]:
        names = [axis.name for axis in self.axes]
        for values in product(*(axis.values for axis in self.axes)):
            yield dict(zip(names, values, strict=True))

    @cached_property
    def _by_point(self) -> dict[Point, Config]:
        return {self.point(config): config for config in self.configs}

    def holds(self, config: Config) -> bool:
        """Whether a config can run."""
        return self.point(config) in self._by_point

    def reasons(self, config: Config) -> list[str]:
        """Why a config cannot run; the one predicate is the stage's."""
        return self.spec.reasons(self.problem, {**dict(self.interface), **config}, self.target)

    def point(self, config: Config) -> Point:
        return tuple(config[axis.name] for axis in self.axes)

    def adopt(self, config: Config) -> Config | None:
        """A config of another space of the stage, if it is one of this space too."""
        known = {axis.name for axis in self.axes}
        own = {**self.default, **{k: v for k, v in config.items() if k in known}}
        return self._by_point.get(self.point(own))

    def variant(self, config: Config) -> Variant:
        """The plan with this config of the stage and the defaults of all others."""
        return Variant.of(self.plan, self.problem, dict(self.interface), {self.stage: config})

    def key(self, config: Config) -> TrialKey:
        """By which the store knows the trial of a config."""
        return TrialKey(
            target=self.target.name,
            arch=self.target.arch,
            problem_id=self.problem.id(),
            scope="stage" if self.alone else "plan",
            plan=self.plan,
            stage=self.stage if self.alone else None,
            interface=self.shared,
            config=dict(config) if self.alone else {self.stage: dict(config)},
        )

    def config_of(self, key: TrialKey) -> Config | None:
        """The config of a stored trial, None if the trial is not of this space."""
        if (key.plan, key.interface) != (self.plan, self.shared):
            return None
        if key.stage != (self.stage if self.alone else None):
            return None
        config = key.config if self.alone else key.config.get(self.stage, {})
        if set(config) != {axis.name for axis in self.axes}:
            return None
        return self._by_point.get(self.point(config))


def plan_key(problem: Problem, target: Target, variant: Variant) -> TrialKey:
    """By which the store knows the trial of a whole variant."""
    stages = {name: dict(config) for name, config in variant.stages}
    return TrialKey(
        target=target.name, arch=target.arch, problem_id=problem.id(), scope="plan",
        plan=variant.plan, interface=dict(variant.interface), config=stages,
    )  # fmt: skip


def plans_for(
    problem: Problem, target: Target, wanted: Sequence[str] = ()
) -> dict[str, list[tuple[Space, ...]]]:
    """The plans that can run a problem on a target, with the spaces of each interface config.

    Returns:
        By plan a list with one entry an interface config, the default first: the spaces of the
        plan's stages in the order they run. A plan none of whose interfaces can run is left out.

    Raises:
        UnknownName: a wanted plan does not exist.
    """
    names = [plan_named(name).name for name in wanted] or list(PLANS)
    found = {name: _interfaces(name, problem, target) for name in names}
    return {name: interfaces for name, interfaces in found.items() if interfaces}


def refusals(problem: Problem, target: Target, wanted: Iterable[str] = ()) -> list[str]:
    """Why no plan can run a problem on a target, by the default variant of each."""
    reasons = []
    for name in tuple(wanted) or PLANS:
        reasons += Variant.default(name, problem).reasons(problem, target)
    return list(dict.fromkeys(reasons))


def _interfaces(name: str, problem: Problem, target: Target) -> list[tuple[Space, ...]]:
    plan = PLANS[name]
    names = [axis.name for axis in plan.axes]
    default = defaults(plan.axes)
    rows = [
        dict(zip(names, values, strict=True))
        for values in product(*(axis.values for axis in plan.axes))
    ]
    found = []
    for interface in sorted(rows, key=lambda row: row != default):
        if plan.reasons(problem, interface, target):
            continue
        spaces = tuple(
            Space(problem, target, name, tuple(interface.items()), stage)
            for stage in plan.stages(problem)
        )
        if all(space.first is not None for space in spaces):
            found.append(spaces)
    return found
