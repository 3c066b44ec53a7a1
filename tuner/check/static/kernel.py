"""Kernel: one compiled kernel of the variants that ship, with everything that shapes it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from gdn_ops.codegen.axis import Axis, Config, Value, defaults
from gdn_ops.codegen.compiled.compile import Source, attributes, launch_options, signature
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.render import render
from gdn_ops.codegen.source_hash import code_of
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.target import Target
from gdn_ops.tuner.check.static.shipping import Shipped

Key = tuple[str, str, str, str]
"""What decides the figures of a kernel on one target: stage, code, arguments and options."""

HASH = 16
"""Hexadecimal digits of a hash in a baseline."""


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """One kernel to compile.

    Args:
        uses: where it is used: ``<variant>/<stage>``; the first one is its name.
        plan, problem, target: of the first use.
        source: what is compiled.
        hash: hash of the source's code, without docstrings, comments and the stage's name.
        arguments: hash of the types of the parameters and of what Triton is told about them.
        config: values of the axes that shape the source, e.g. ``BT=64 BK=32``.
        options: the launch options, likewise.
    """

    uses: tuple[str, ...]
    plan: str
    problem: Problem
    target: Target
    source: Source = field(repr=False)
    hash: str
    arguments: str
    config: str
    options: str

    @property
    def name(self) -> str:
        return self.uses[0]

    @property
    def key(self) -> Key:
        return (self.stage, self.hash, self.arguments, self.options)

    @property
    def stage(self) -> str:
        return self.source.stage

    @property
    def file(self) -> str:
        """The template, relative to the repository."""
        return f"templates/{KERNELS[self.stage].template}.py.jinja"


def kernels_of(variants: Iterable[Shipped]) -> list[Kernel]:
    """The kernels of some variants, each once: equal code for equal arguments and options."""
    found: dict[Key, Kernel] = {}
    uses: dict[Key, list[str]] = {}
    for shipped in variants:
        for stage, _ in shipped.variant.stages:
            if not KERNELS[stage].compiled:
                continue
            config = shipped.variant.config(stage)
            kernel = kernel_of(
                KERNELS[stage], shipped.variant.plan, shipped.problem, config, shipped.target,
                use=f"{shipped.name}/{stage}",
            )  # fmt: skip
            found.setdefault(kernel.key, kernel)
            uses.setdefault(kernel.key, []).append(kernel.name)
    return [replace(kernel, uses=tuple(uses[key])) for key, kernel in found.items()]


def kernel_of(
    spec: KernelSpec, plan: str, problem: Problem, config: Config, target: Target, *, use: str
) -> Kernel:
    """The kernel of one stage.

    Raises:
        TemplateError: the stage does not render.
    """
    source = Source(
        stage=spec.name,
        code=render(spec, problem, config),
        types=signature(spec, problem, config),
        options=launch_options(spec, config),
    )
    read = [axis for axis in PLANS[plan].axes if axis.name in spec.shared]
    shaping = [*read, *(axis for axis in spec.axes if not axis.launch)]
    return Kernel(
        uses=(use,),
        plan=plan,
        problem=problem,
        target=target,
        source=source,
        hash=code_hash(source),
        arguments=arguments_hash(source.types, target),
        config=in_words({axis.name: config[axis.name] for axis in shaping}),
        options=in_words(source.options),
    )


def code_hash(source: Source) -> str:
    """The hash of a rendered stage's code; equal if only its prose or its name differ."""
    code = code_of(source.code, source.stage)
    return hashlib.sha256(code.encode()).hexdigest()[:HASH]


def arguments_hash(types: Mapping[str, str], target: Target) -> str:
    """The hash of parameters' types and of what Triton is told about them."""
    facts = [list(types.items()), sorted(attributes(types, target).items())]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:HASH]


def in_words(values: Mapping[str, object]) -> str:
    """Named values in one line, e.g. ``BT=64 BK=32``."""
    return " ".join(f"{name}={value}" for name, value in values.items())


def config_of(words: str, stage: str, plan: str) -> dict[str, Value] | None:
    """The config that ``in_words`` wrote of config and options, by today's axes.

    Interface axes of the plan that the stage does not read get their defaults.

    Returns:
        None if the stage's axes are others today, or have no such value.
    """
    given = dict(word.partition("=")[::2] for word in words.split())
    spec, interface = KERNELS[stage], PLANS[plan].axes
    known = [*(axis for axis in interface if axis.name in spec.shared), *spec.axes]
    if {axis.name for axis in known} != given.keys():
        return None
    chosen = {axis.name: _value(axis, given[axis.name]) for axis in known}
    if None in chosen.values():
        return None
    return {**defaults(interface), **{name: v for name, v in chosen.items() if v is not None}}


def _value(axis: Axis, word: str) -> Value | None:
    return next((value for value in axis.values if str(value) == word), None)
