"""Space: the configs of one stage under one interface, minus what cannot run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations, product

from gdn_ops.codegen.axis import Axis, Config, Value, defaults
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.variant import Variant, plan_named
from gdn_ops.tuner.store.records import TrialKey

Point = tuple[Value, ...]
"""A config of a space as its values alone, in the order of its axes: hashable."""
StageKey = tuple[str | tuple[str, Value], ...]
"""A plan's stage with what it reads of the interface: hashable."""
StageSpaces = tuple["Space", ...]
"""The spaces of a plan's stages under one interface, in the order the stages run."""


@dataclass(frozen=True)
class Space:
    """The configs of one stage of a plan for a problem on a target, its interface fixed.

    The stage of a plan with a single stage is the plan: its trials are of scope ``plan``. A stage
    among others is timed alone, scope ``stage``.

    Args:
        interface: a value for every interface axis of the plan, as pairs.
        around: a config for each stage of the plan, as pairs: what the others run with while
            this one is searched, and what this one begins with; see ``surrounded``.
    """

    problem: Problem
    target: Target
    plan: str
    interface: tuple[tuple[str, Value], ...]
    stage: str
    around: tuple[tuple[str, tuple[tuple[str, Value], ...]], ...] = ()

    @property
    def spec(self) -> KernelSpec:
        return KERNELS[self.stage]

    @property
    def axes(self) -> tuple[Axis, ...]:
        return self.spec.axes

    @cached_property
    def timed_separately(self) -> bool:
        """Whether the stage is one among others, so that it is timed apart from them."""
        return len(PLANS[self.plan].stages(self.problem)) > 1

    @property
    def shared(self) -> dict[str, Value]:
        """The interface as far as this stage reads it.

        Interfaces that agree in it share this stage's trials.
        """
        if not self.timed_separately:
            return dict(self.interface)
        return {name: value for name, value in self.interface if name in self.spec.shared}

    @property
    def stage_key(self) -> StageKey:
        """What tells the stage's searches apart: equal where interfaces share its trials."""
        return (self.plan, self.stage, *self.shared.items())

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
    def nearest_valid(self) -> Config | None:
        """The default config if it is valid, else the valid one nearest to it; None without any."""
        return next(self.nearest(), None)

    @property
    def start(self) -> Config:
        """The config a search begins with: the stage's own of those around it, else ``first``."""
        around = {stage: dict(pairs) for stage, pairs in self.around}
        return around.get(self.stage) or self.nearest_valid or self.default

    def nearest(self) -> Iterator[Config]:
        """The valid configs, those that differ from the default in fewest axes first.

        Of two that differ in as many axes, the one that takes fewer steps along them.
        """
        default = self.default
        for count in range(len(self.axes) + 1):
            for config in sorted(self._differing(count), key=lambda c: self._steps(c, default)):
                if not self.reasons(config):
                    yield config

    def _differing(self, count: int) -> Iterator[dict[str, Value]]:
        """The configs that differ from the default in as many axes."""
        default = self.default
        for axes in combinations(self.axes, count):
            others = [[v for v in axis.values if v != default[axis.name]] for axis in axes]
            for values in product(*others):
                changes = {axis.name: v for axis, v in zip(axes, values, strict=True)}
                yield {**default, **changes}

    def _steps(self, config: Config, default: Config) -> int:
        """Steps between two configs along the axes' values."""
        return sum(
            abs(axis.values.index(config[axis.name]) - axis.values.index(default[axis.name]))
            for axis in self.axes
        )

    @cached_property
    def configs(self) -> tuple[Config, ...]:
        """Every valid config, ``first`` first, the others in the axes' order."""
        valid = [config for config in self._product() if not self.reasons(config)]
        return tuple(sorted(valid, key=lambda config: config != self.nearest_valid))

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
        """The plan with this config of the stage, the others as they are around it."""
        others = {stage: dict(pairs) for stage, pairs in self.around}
        return Variant.of(
            self.plan, self.problem, dict(self.interface), {**others, self.stage: config}
        )

    def key(self, config: Config) -> TrialKey:
        """By which the store knows the trial of a config."""
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
        """The config of a stored trial, None if the trial is not of this space."""
        if (key.plan, key.interface) != (self.plan, self.shared):
            return None
        if key.stage != (self.stage if self.timed_separately else None):
            return None
        config = key.config if self.timed_separately else key.config.get(self.stage, {})
        if set(config) != {axis.name for axis in self.axes}:
            return None
        return self._by_point.get(self.point(config))


def surrounded(spaces: StageSpaces, configs: Mapping[str, Config]) -> StageSpaces:
    """The spaces of an interface, each with these configs of the stages around it."""
    around = tuple((stage, tuple(config.items())) for stage, config in configs.items())
    return tuple(replace(space, around=around) for space in spaces)


def plan_key(problem: Problem, target: Target, variant: Variant) -> TrialKey:
    """By which the store knows the trial of a whole variant."""
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


def _interfaces(name: str, problem: Problem, target: Target) -> list[StageSpaces]:
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
        if all(space.nearest_valid is not None for space in spaces):
            configs = {space.stage: space.nearest_valid or space.default for space in spaces}
            found.append(surrounded(spaces, configs))
    return found
