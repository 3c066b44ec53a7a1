"""Space: the valid configs of one stage, under one interface config of its plan."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations, product

from gdn_ops.codegen.axis import Axis, Config, Value
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.variant import Variant, plan_named
from gdn_ops.tuner.store.records import TrialKey
from gdn_ops.tuner.strategies.search_space import Point

StageKey = tuple[str | tuple[str, Value], ...]
"""A plan, one of its stages and the interface values that the stage reads; hashable."""
StageSpaces = tuple["Space", ...]
"""The spaces of a plan's stages under one interface config, in the order the stages run."""


@dataclass(frozen=True)
class Space:
    """The configs of one stage of a plan, for a problem on a target, with a fixed interface.

    If the plan has a single stage, a trial runs the whole plan and its scope is ``plan``. A stage
    of several is timed alone and its trials have the scope ``stage``.

    Args:
        interface: a value for every interface axis of the plan, as pairs.
        stage_configs: a config for each stage of the plan, as pairs. The other stages run with
            theirs while this one is searched; this one's is where its search starts.
    """

    problem: Problem
    target: Target
    plan: str
    interface: tuple[tuple[str, Value], ...]
    stage: str
    stage_configs: tuple[tuple[str, tuple[tuple[str, Value], ...]], ...] = ()

    @property
    def spec(self) -> KernelSpec:
        return KERNELS[self.stage]

    @property
    def axes(self) -> tuple[Axis, ...]:
        return self.spec.axes

    @cached_property
    def timed_separately(self) -> bool:
        """Whether the plan has several stages, so that this one is timed alone."""
        return len(PLANS[self.plan].stages(self.problem)) > 1

    @property
    def shared(self) -> dict[str, Value]:
        """The interface values that this stage reads.

        Interfaces with the same values share the trials of this stage.
        """
        if not self.timed_separately:
            return dict(self.interface)
        return {name: value for name, value in self.interface if name in self.spec.shared}

    @property
    def stage_key(self) -> StageKey:
        """Identifies a search of the stage; equal for interfaces that share its trials."""
        return (self.plan, self.stage, *self.shared.items())

    @property
    def label(self) -> str:
        """The stage and the interface values it reads, e.g. ``solve BT=64 store=io``."""
        return " ".join([self.stage, *(f"{name}={value}" for name, value in self.shared.items())])

    @property
    def default(self) -> dict[str, Value]:
        """The stage's default config for the problem."""
        return self.spec.default(self.problem)

    @cached_property
    def nearest_valid(self) -> Config | None:
        """The default config if it is valid, else the nearest valid one; None if none is valid."""
        return next(self.nearest(), None)

    @property
    def initial_config(self) -> Config:
        """The config that a search starts with: from ``stage_configs``, else ``nearest_valid``."""
        configs = {stage: dict(pairs) for stage, pairs in self.stage_configs}
        return configs.get(self.stage) or self.nearest_valid or self.default

    def nearest(self) -> Iterator[Config]:
        """The valid configs, those first that differ from the default in the fewest axes.

        Among configs that differ in the same number of axes, those come first that are fewer steps
        away along the axes' values.
        """
        default = self.default
        for count in range(len(self.axes) + 1):
            for config in sorted(self._differing(count), key=lambda c: self._steps(c, default)):
                if not self.reasons(config):
                    yield config

    def _differing(self, count: int) -> Iterator[dict[str, Value]]:
        """The configs that differ from the default in this number of axes."""
        default = self.default
        for axes in combinations(self.axes, count):
            others = [[v for v in axis.values if v != default[axis.name]] for axis in axes]
            for values in product(*others):
                changes = {axis.name: v for axis, v in zip(axes, values, strict=True)}
                yield {**default, **changes}

    def _steps(self, config: Config, default: Config) -> int:
        """Number of steps along the axes' values from one config to another."""
        return sum(
            abs(axis.values.index(config[axis.name]) - axis.values.index(default[axis.name]))
            for axis in self.axes
        )

    @cached_property
    def configs(self) -> tuple[Config, ...]:
        """Every valid config: ``nearest_valid`` first, the others in the order of the axes."""
        valid = [config for config in self._product() if not self.reasons(config)]
        return tuple(sorted(valid, key=lambda config: config != self.nearest_valid))

    def _product(self) -> Iterator[dict[str, Value]]:
        names = [axis.name for axis in self.axes]
        for values in product(*(axis.values for axis in self.axes)):
            yield dict(zip(names, values, strict=True))

    @cached_property
    def _by_point(self) -> dict[Point, Config]:
        return {self.point(config): config for config in self.configs}

    def is_valid(self, config: Config) -> bool:
        """Whether a config is one of this space and can run."""
        return self.point(config) in self._by_point

    def reasons(self, config: Config) -> list[str]:
        """Why the stage cannot run with a config; empty if it can."""
        return self.spec.reasons(self.problem, {**dict(self.interface), **config}, self.target)

    def point(self, config: Config) -> Point:
        return tuple(config[axis.name] for axis in self.axes)

    def adopt(self, config: Config) -> Config | None:
        """A config of another space of this stage, if it is valid in this space too.

        Axes that it lacks get their default, and values of axes that are gone are dropped.
        """
        known = {axis.name for axis in self.axes}
        own = {**self.default, **{k: v for k, v in config.items() if k in known}}
        return self._by_point.get(self.point(own))

    def variant(self, config: Config) -> Variant:
        """The whole plan with this config of the stage and ``stage_configs`` of the others."""
        others = {stage: dict(pairs) for stage, pairs in self.stage_configs}
        return Variant.of(
            self.plan, self.problem, dict(self.interface), {**others, self.stage: config}
        )

    def key(self, config: Config) -> TrialKey:
        """The key under which the store has the trials of a config."""
        return TrialKey(
            target=self.target.name,
            arch=self.target.arch,
            problem_id=self.problem.id(),
            scope="stage" if self.timed_separately else "plan",
            plan=self.plan,
            stage=self.stage if self.timed_separately else None,
            interface=self.shared,
            config=dict(config) if self.timed_separately else {self.stage: dict(config)},
        )

    def config_of(self, key: TrialKey) -> Config | None:
        """The config of a stored trial; None if the trial is not of this space."""
        if (key.plan, key.interface) != (self.plan, self.shared):
            return None
        if key.stage != (self.stage if self.timed_separately else None):
            return None
        config = key.config if self.timed_separately else key.config.get(self.stage, {})
        if set(config) != {axis.name for axis in self.axes}:
            return None
        return self._by_point.get(self.point(config))


def with_stage_configs(spaces: StageSpaces, configs: Mapping[str, Config]) -> StageSpaces:
    """The spaces of an interface, with these configs for the plan's stages."""
    pairs = tuple((stage, tuple(config.items())) for stage, config in configs.items())
    return tuple(replace(space, stage_configs=pairs) for space in spaces)


def plan_key(problem: Problem, target: Target, variant: Variant) -> TrialKey:
    """The key under which the store has the trials of a whole variant."""
    stages = {name: dict(config) for name, config in variant.stages}
    return TrialKey(
        target=target.name, arch=target.arch, problem_id=problem.id(), scope="plan",
        plan=variant.plan, interface=dict(variant.interface), config=stages,
    )  # fmt: skip


def plans_for(
    problem: Problem, target: Target, wanted: Sequence[str] = ()
) -> dict[str, list[StageSpaces]]:
    """The plans that can run a problem on a target, with the spaces of each interface config.

    Returns:
        By plan name a list with one entry per interface config, the default first. An entry has
        the spaces of the plan's stages in the order they run. A plan is left out if none of its
        interfaces can run.

    Raises:
        UnknownName: a wanted plan does not exist.
    """
    names = [plan_named(name).name for name in wanted] or list(PLANS)
    found = {name: _interfaces(name, problem, target) for name in names}
    return {name: interfaces for name, interfaces in found.items() if interfaces}


def why_no_plan(problem: Problem, target: Target, wanted: Iterable[str] = ()) -> list[str]:
    """Why no plan can run a problem on a target: the reasons of each plan's default variant."""
    reasons = []
    for name in tuple(wanted) or PLANS:
        reasons += Variant.default(name, problem).reasons(problem, target)
    return list(dict.fromkeys(reasons))


def _interfaces(name: str, problem: Problem, target: Target) -> list[StageSpaces]:
    plan = PLANS[name]
    names = [axis.name for axis in plan.axes]
    default = plan.default(problem)
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
        if all(space.nearest_valid is not None for space in spaces):
            configs = {space.stage: space.nearest_valid or space.default for space in spaces}
            found.append(with_stage_configs(spaces, configs))
    return found
