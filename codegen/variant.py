"""Variant: a plan with a value for every axis, which can be rendered, timed, stored and run."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gdn_ops.codegen.axis import Axis, Value, checked, defaults
from gdn_ops.codegen.errors import InvalidConfig, UnknownName
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.plan import Plan
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.stage_names import current_name
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.variant_text import split_text, variant_text, with_short_id

if TYPE_CHECKING:
    from gdn_ops.codegen.providers.provider import Provider

VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+!_-]{0,63}")
"""A version of a provider, as a database may have it."""


@dataclass(frozen=True)
class Variant:
    """A plan, its interface config and each stage's own config.

    Build one with ``default``, ``of`` or ``from_json``, which check every value.
    """

    plan: str
    interface: tuple[tuple[str, Value], ...]
    stages: tuple[tuple[str, tuple[tuple[str, Value], ...]], ...]

    @classmethod
    def of(
        cls,
        plan: str,
        problem: Problem,
        interface: Mapping[str, object] | None = None,
        stages: Mapping[str, Mapping[str, object]] | None = None,
    ) -> Variant:
        """Build a variant of a plan for a problem. Axes that are not given get their defaults.

        Raises:
            UnknownName: the plan, a stage or an axis does not exist.
            InvalidConfig: a value is not one of its axis' values.
        """
        definition = plan_named(plan)
        specs = definition.specs(problem)
        given = stages or {}
        for name in given:
            if name not in [spec.name for spec in specs]:
                raise UnknownName.of(f"stage of plan {plan}", name, [s.name for s in specs])
        shared = checked(definition.axes, {**definition.default(problem), **(interface or {})})
        own = (
            (spec.name, checked(spec.axes, {**spec.default(problem), **given.get(spec.name, {})}))
            for spec in specs
        )
        return cls(plan, tuple(shared.items()), tuple((n, tuple(c.items())) for n, c in own))

    @classmethod
    def default(cls, plan: str, problem: Problem) -> Variant:
        """The plan's conservative variant, with the default of every axis."""
        return cls.of(plan, problem)

    @classmethod
    def from_json(cls, data: Any, problem: Problem) -> Variant:
        """Read what ``to_json`` wrote, also when stages had other names.

        Everything is checked, because the database is not trusted.
        """
        if not isinstance(data, Mapping) or not isinstance(data.get("plan"), str):
            raise InvalidConfig(f"a variant is an object with a plan, not {data!r}; retune.")
        interface, stages = data.get("interface", {}), data.get("stages", {})
        configs = stages.values() if isinstance(stages, Mapping) else [stages]
        for config in (interface, *configs):
            if not isinstance(config, Mapping):
                raise InvalidConfig(f"a config is an object of axes, not {config!r}; retune.")
        if data["plan"] not in PLANS and data["plan"] in _providers():
            return Provided.by(data["plan"], stages.get(data["plan"], {}).get("version"))
        renamed = {current_name(stage, problem): config for stage, config in stages.items()}
        return cls.of(data["plan"], problem, interface, renamed)

    @classmethod
    def from_text(cls, text: str, problem: Problem) -> Variant:
        """Read what ``str`` gives; axes that are not named have their own default.

        Raises:
            InvalidInput: the text is not spelled so.
            UnknownName, InvalidConfig: as for ``of``.
        """
        plan, interface, stages = split_text(text)
        own = {spec.name: spec for spec in plan_named(plan).specs(problem)}
        if unknown := [name for name in stages if name not in own]:
            raise UnknownName.of(f"stage of plan {plan}", unknown[0], own)
        configs = {
            name: defaults(spec.axes) | _read(spec.axes, stages.get(name, {}))
            for name, spec in own.items()
        }
        axes = PLANS[plan].axes
        return cls.of(plan, problem, defaults(axes) | _read(axes, interface), configs)

    def to_json(self) -> dict[str, Any]:
        """The variant as a JSON object, for the database."""
        return {
            "plan": self.plan,
            "interface": dict(self.interface),
            "stages": {name: dict(config) for name, config in self.stages},
        }

    def config(self, stage: str) -> dict[str, Value]:
        """The value of every axis that a stage sees: the interface's and its own."""
        return {**dict(self.interface), **dict(dict(self.stages)[stage])}

    @property
    def provider(self) -> str:
        """The name of the provider that computes it; empty if our own kernels do."""
        return ""

    @property
    def precisions(self) -> frozenset[Value]:
        """The precisions of the matrix products in its stages."""
        return frozenset(
            dict(config)[axis.name]
            for stage, config in self.stages
            for axis in KERNELS[stage].precisions
        )

    @property
    def id(self) -> str:
        """Plan and content hash, e.g. ``split-3f9a1c20b4d7``."""
        text = json.dumps(self.to_json(), sort_keys=True)
        return f"{self.plan}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    @property
    def named(self) -> str:
        """Its text with a short id, e.g. ``split BT=32 #3f9a1c20``: what people read."""
        return with_short_id(str(self), self.id)

    def __str__(self) -> str:
        """The plan and the axes that differ from their defaults; see ``variant_text``."""
        return variant_text(
            self.plan, dict(self.interface), {name: dict(config) for name, config in self.stages}
        )

    def reasons(self, problem: Problem, target: Target) -> list[str]:
        """Why the variant cannot run the problem on the target; empty if it can."""
        plan = PLANS[self.plan]
        wanted, own = plan.stages(problem), tuple(name for name, _ in self.stages)
        if wanted != own:
            return [f"variant {self.id} has stages {', '.join(own)}, not {', '.join(wanted)}"]
        reasons = plan.reasons(problem, dict(self.interface), target)
        if not reasons:
            for spec in plan.specs(problem):
                reasons += spec.reasons(problem, self.config(spec.name), target)
        return list(dict.fromkeys(reasons))


@dataclass(frozen=True)
class Provided(Variant):
    """A version of a provider that computes a problem; it has no kernels of ours.

    Its plan is the name of the provider, and the version is the only value of its only stage.
    """

    @classmethod
    def by(cls, provider: str, version: object) -> Provided:
        """A version of a provider.

        Raises:
            InvalidConfig: the version is not one.
        """
        if not isinstance(version, str) or not VERSION.fullmatch(version):
            raise InvalidConfig(f"{version!r:.80} is no version of provider {provider}; retune.")
        return cls(provider, (), ((provider, (("version", version),)),))

    @property
    def provider(self) -> str:
        return self.plan

    @property
    def version(self) -> str:
        """The version of the provider that was checked and timed."""
        return str(dict(self.stages[0][1])["version"])

    @property
    def precisions(self) -> frozenset[Value]:
        return frozenset(["tf32"] if _providers()[self.plan].rounds else [])

    def reasons(self, problem: Problem, target: Target) -> list[str]:
        """Why the provider cannot compute the problem on the target, whatever is installed."""
        return _providers()[self.plan].refusals(problem, target)


def _providers() -> Mapping[str, Provider]:
    # read when a stored row names one, and not with every import
    from gdn_ops.codegen.providers import PROVIDERS

    return PROVIDERS


def _read(axes: Iterable[Axis], given: Mapping[str, str]) -> dict[str, Value]:
    """The values of axes that a text gives."""
    by_name = {axis.name: axis for axis in axes}
    if unknown := [name for name in given if name not in by_name]:
        raise UnknownName.of("axis", unknown[0], by_name)
    return {name: by_name[name].read(text) for name, text in given.items()}


def plan_named(name: str) -> Plan:
    """The plan of this name.

    Raises:
        UnknownName: there is none.
    """
    if name not in PLANS:
        raise UnknownName.of("plan", name, PLANS)
    return PLANS[name]
