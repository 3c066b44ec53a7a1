"""Toy plans with recorded timings: the search without a kernel, a child or a clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import jinja2

from gdn_ops.codegen.axis import Axis, Config
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.plan import Plan
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.source_hash import _source_hash
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.targets import TARGETS
from gdn_ops.codegen.variant import Variant
from gdn_ops.tuner.deadline import Deadline
from gdn_ops.tuner.measure.fingerprint import Environment
from gdn_ops.tuner.report.progress import Event
from gdn_ops.tuner.search.trial_runner import Context
from gdn_ops.tuner.store.db import Database, open_database
from gdn_ops.tuner.store.store import Store
from gdn_ops.tuner.workers.compilers import Work
from gdn_ops.tuner.workers.harness import Effort, Measured, PendingVerdicts, Timing, Verdict

CPU = TARGETS["cpu"]
PROBLEM = Problem(op="forward", H=1, HV=1, K=16, V=16, dtype="bf16", tokens=64, sequences=1)
REFERENCE = 1.0


def spec(name: str, *axes: Axis, shared: tuple[str, ...] = ()) -> KernelSpec:
    def refusals(problem: Problem, config: Config, target: object) -> list[str]:
        return ["tile 64 does not go with 8 warps"] if _refused(config) else []

    return KernelSpec(
        name=name, template=f"torch/{name}", doc="", equation="", axes=axes, shared=shared,
        inputs=lambda problem, config: (), outputs=lambda problem, config: (), refusals=refusals,
    )  # fmt: skip


def _refused(config: Config) -> bool:
    return config.get("tile") == 64 and config.get("warps") == 8


TILE = Axis("tile", (16, 32, 64, 128), 32, "tile")
WARPS = Axis("warps", (1, 2, 4, 8), 4, "warps")
FORM = Axis("form", ("plain", "fancy"), "plain", "loop form")
BIG = tuple(Axis(name, (1, 2, 4, 8), 1, name) for name in ("a", "b", "c", "d"))

TOY_KERNELS = {
    s.name: s
    for s in (
        spec("single", TILE, WARPS, FORM),
        spec("large", *BIG),
        spec("first", TILE, shared=("BT",)),
        spec("second", WARPS, shared=("BT", "store")),
    )
}


def _plan(name: str, stages: tuple[str, ...], *axes: Axis) -> Plan:
    return Plan(
        name=name, doc="", axes=axes, stages=lambda problem: stages,
        refusals=lambda problem, interface, target: [],
    )  # fmt: skip


TOY_PLANS = {
    p.name: p
    for p in (
        _plan("single", ("single",)),
        _plan("large", ("large",)),
        _plan(
            "pair", ("first", "second"),
            Axis("BT", (16, 32), 16, "chunk"), Axis("store", ("io", "fp32"), "io", "storage"),
        ),
    )
}  # fmt: skip


TOY_TEMPLATE = "{{ NAME }} with {{ LABEL }}"


@contextmanager
def toy_plans(*names: str) -> Iterator[None]:
    """Nothing but the named toy plans exists inside the block."""
    with (
        toy_templates(lambda name: TOY_TEMPLATE),
        patch.dict(KERNELS, TOY_KERNELS, clear=True),
        patch.dict(PLANS, {name: TOY_PLANS[name] for name in names}, clear=True),
    ):
        yield


@contextmanager
def toy_templates(source: Callable[[str], str]) -> Iterator[None]:
    """Inside the block every template is what ``source`` makes of its name."""
    environment = jinja2.Environment(loader=jinja2.FunctionLoader(source))
    with patch("gdn_ops.codegen.render._environment", lambda: environment):
        _source_hash.cache_clear()
        try:
            yield
        finally:
            _source_hash.cache_clear()


SecondsOf = Callable[[str, Config], float]
"""Seconds of a stage with a full config."""


def stage_seconds(stage: str, config: Config) -> float:
    """A landscape whose best is not the default, with an interface that matters."""
    seconds = 1e-3
    seconds *= {16: 2.0, 32: 1.2, 64: 1.0, 128: 1.5}.get(int(config.get("tile", 64)), 1.0)
    seconds *= {1: 2.0, 2: 1.0, 4: 1.3, 8: 1.6}.get(int(config.get("warps", 2)), 1.0)
    seconds *= 0.8 if config.get("form") == "fancy" else 1.0
    seconds *= {16: 1.0, 32: 0.5}.get(int(config.get("BT", 16)), 1.0)
    for name, best in (("a", 4), ("b", 2), ("c", 8), ("d", 1)):
        seconds *= 1 + abs(int(config.get(name, best)).bit_length() - best.bit_length()) / 2
    return seconds


@dataclass
class RecordedHarness:
    """Answers from a table; counts what it was asked.

    Args:
        verdicts: by the text of a variant, for those that are not right.
        failures: statuses of measurements by the text of a variant.
        compilations: by the text of a full config, for those that do not simply compile.
        unsteady: texts of variants that differ between 30 repeats.
        before: called before each measurement, to interrupt it.
    """

    seconds: SecondsOf = stage_seconds
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)
    compilations: Mapping[str, Verdict] = field(default_factory=dict)
    unsteady: frozenset[str] = frozenset()
    before: Callable[[int], None] = lambda count: None
    verified: list[str] = field(default_factory=list)
    measured: list[tuple[str, str | None]] = field(default_factory=list)
    compiled: list[int] = field(default_factory=list)
    efforts: list[Effort] = field(default_factory=list)

    def end_by(self, deadline: Deadline) -> None:
        pass

    def compile(self, problem: Problem, work: Work) -> PendingVerdicts:
        self.compiled.append(len(work))
        ok = Verdict(status="ok")
        verdicts = [self.compilations.get(str(dict(config)), ok) for _, _, config in work]
        return lambda: verdicts

    def verify(self, problem: Problem, variant: Variant, *, repeats: int) -> Verdict:
        self.verified.append(str(variant))
        if repeats == 30 and str(variant) in self.unsteady:
            return Verdict(status="nondeterministic", message="two runs differ")
        return self.verdicts.get(str(variant), Verdict(status="ok", errors={"o": 1e-6}))

    def measure(
        self, problem: Problem, variants: Sequence[Variant], *, stage: str | None, effort: Effort
    ) -> Measured:
        self.before(len(self.measured))
        self.efforts.append(effort)
        self.measured += [(str(variant), stage) for variant in variants]
        for variant in variants:
            if str(variant) in self.failures:
                return Measured(status=self.failures[str(variant)], message="recorded failure")
        return Measured(
            status="ok",
            timings={variant.id: self.timing(variant, stage) for variant in variants},
            reference=timing(REFERENCE) if effort.reference else None,
            method="recorded",
        )

    def wait_until_calm(self, seconds: float) -> bool:
        return True

    def timing(self, variant: Variant, stage: str | None) -> Timing:
        stages = [name for name, _ in variant.stages if stage in (None, name)]
        return timing(sum(self.seconds(name, variant.config(name)) for name in stages))

    def close(self) -> None:
        pass


def timing(seconds: float) -> Timing:
    samples = tuple(seconds * (1 + 0.001 * i) for i in (-2, -1, 0, 1, 2))
    return Timing(seconds, min(samples), max(samples), samples)


@dataclass
class Bench:
    """A database, a harness and the events a campaign reported."""

    context: Context
    database: Database
    harness: RecordedHarness
    events: list[Event]

    @property
    def store(self) -> Store:
        return self.context.store


@contextmanager
def bench(path: Path, harness: RecordedHarness) -> Iterator[Bench]:
    events: list[Event] = []
    with open_database(path, create=True) as database:
        store = Store(database)
        context = Context(
            store=store, harness=harness, target=CPU,
            environment=store.add_environment(ENVIRONMENT),
            run=store.start_run("toy", CPU.name, seed=0, options={}),
            report=events.append,
        )  # fmt: skip
        yield Bench(context, database, harness, events)


ENVIRONMENT = Environment(
    device="toy", arch="cpu", driver=None, torch="2", triton=None, python="3", platform="toy",
    threads=1,
)  # fmt: skip
