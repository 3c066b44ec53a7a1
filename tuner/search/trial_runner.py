"""TrialRunner: looks a config up, compiles, verifies, measures and records it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gdn_ops.codegen.axis import Config, defaults, differing
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.variant import Variant
from gdn_ops.codegen.variant_text import variant_text
from gdn_ops.tuner.cost.kernel_time import expected_seconds
from gdn_ops.tuner.report.progress import Report, TrialEnded
from gdn_ops.tuner.search.asked_providers import Asked
from gdn_ops.tuner.search.verdict_cache import REFERENCE_TIMED, VerdictCache, number
from gdn_ops.tuner.spaces.sources import sources_of
from gdn_ops.tuner.spaces.space import Space, plan_key
from gdn_ops.tuner.store.new_trial import NewTrial
from gdn_ops.tuner.store.records import Outcome, Trial, TrialKey
from gdn_ops.tuner.store.store import Store
from gdn_ops.tuner.workers.harness import Effort, Harness, Measured, Verdict

SEARCH_EFFORT = Effort(rounds=3, seconds=0.8)
"""How much is measured of each config during a search; the finals time the best ones again."""

GPU_SEARCH_EFFORT = Effort(rounds=5, seconds=0.1)
"""The same on a GPU, where CUDA graph replays vary by about a percent and time is expensive."""

REFERENCE_ROUNDS = 2
"""Samples of the first config, which is timed together with the slow reference."""

STOP_FACTOR = 1.3
"""A config this many times slower than the best one gets no more samples after its first ones."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """What all trials of a run share.

    Args:
        environment, run: their rows in the database.
        report: is called with each event.
        providers: what the problems' variants are compared with.
    """

    store: Store
    harness: Harness
    target: Target
    environment: int
    run: int
    report: Report
    providers: Asked = field(default_factory=Asked)


class TrialRunner:
    """Tries configs of one problem; each trial is in the database before anything else happens."""

    def __init__(self, context: Context, problem: Problem) -> None:
        self.context, self.problem = context, problem
        self.store, self.harness = context.store, context.harness
        self._search_effort = GPU_SEARCH_EFFORT if context.target.gpu else SEARCH_EFFORT
        self.store.add_problem(problem.id(), problem.facts())
        self.verdicts = VerdictCache(
            self.harness,
            self.store,
            problem,
            target=context.target.name,
            environment=context.environment,
        )
        self._compiled: dict[str, Verdict] = {}
        self._failed: dict[str, Trial] = {}
        self._trials = self.store.trials(
            target=context.target.name,
            problem_id=problem.id(),
            environment_id=context.environment,
        )
        self.reference = self._earlier_reference()

    @property
    def trials(self) -> tuple[Trial, ...]:
        """Every trial of the problem in this environment, whatever its source, the newest last."""
        return tuple(self._trials)

    def applies_to(self, trial: Trial, variant: Variant) -> bool:
        """Whether a trial's outcome still applies to a variant, given the source it has today."""
        return trial.applies_to(variant.id, sources_of(self.problem, variant))

    def known(self, space: Space) -> list[tuple[Config, Trial]]:
        """Each tried config of a space with its latest trial whose outcome still applies."""
        found: dict[Any, tuple[Config, Trial]] = {}
        for trial in self._trials:
            config = space.config_of(trial.key)
            if config is not None and self.applies_to(trial, space.variant(config)):
                found[space.point(config)] = (config, trial)
        return list(found.values())

    def prepare(self, space: Space, configs: Sequence[Config]) -> Callable[[], list[Config]]:
        """Start to compile configs side by side, before they are tried.

        Returns:
            A function that waits for the compilers and returns the configs in the order of their
            predicted times; where these are equal, those that spill fewer bytes come first.
        """
        full = [{**dict(space.interface), **config} for config in configs]
        work = [(space.plan, space.stage, config) for config in full]
        compiled = self.harness.compile(self.problem, work)

        def ordered() -> list[Config]:
            verdicts = compiled()
            for config, verdict in zip(configs, verdicts, strict=True):
                self._compiled[space.variant(config).id] = verdict
            ranks = [
                (_expected(space, config, verdict), int(verdict.resources.get("stack", 0)))
                for config, verdict in zip(full, verdicts, strict=True)
            ]
            return [configs[i] for i in sorted(range(len(configs)), key=ranks.__getitem__)]

        return ordered

    def prepare_variants(self, variants: Sequence[Variant]) -> None:
        """Compile whole variants side by side, before they are tried."""
        work = [(v.plan, stage, v.config(stage)) for v in variants for stage, _ in v.stages]
        verdicts = iter(self.harness.compile(self.problem, work)())
        for variant in variants:
            own = [next(verdicts) for _ in variant.stages]
            failed = next((verdict for verdict in own if not verdict.ok), None)
            if failed is not None:
                self._compiled[variant.id] = failed

    def record_failed(self, space: Space, configs: Sequence[Config]) -> None:
        """Commit those of some prepared configs that do not compile, in one transaction.

        They have ended; ``run`` returns their trials.
        """
        ended: dict[str, NewTrial] = {}
        for config in configs:
            variant = space.variant(config)
            compiled = self._compiled.get(variant.id)
            if compiled is not None and not compiled.ok:
                new = self.ended(space.key(config), failure(compiled), variant)
                if self._known(new.key, variant) is None:
                    ended[variant.id] = new
        trials = self.record_all(list(ended.values()), label=space.label)
        self._failed |= dict(zip(ended, trials, strict=True))

    def run(self, space: Space, config: Config, *, best: float | None) -> Trial:
        """Try a config of a space; it stops early if slower than ``STOP_FACTOR`` * ``best``."""
        effort = replace(
            self._search_effort, stop_above=None if best is None else STOP_FACTOR * best
        )
        return self._try(
            space.key(config),
            space.variant(config),
            stage=space.stage if space.timed_separately else None,
            label=space.label,
            effort=effort,
        )

    def run_variant(self, variant: Variant, *, label: str, retry: bool = False) -> Trial:
        """Try a whole variant, end to end; with ``retry`` also one that is known to fail."""
        key = plan_key(self.problem, self.context.target, variant)
        effort = self._search_effort
        return self._try(key, variant, stage=None, label=label, effort=effort, retry=retry)

    def _try(
        self,
        key: TrialKey,
        variant: Variant,
        *,
        stage: str | None,
        label: str,
        effort: Effort,
        retry: bool = False,
    ) -> Trial:
        """Return the known trial of a variant, or run it. So a known hang is never run again."""
        failed = self._failed.pop(variant.id, None)
        if failed is not None:
            return failed
        known = self._known(key, variant)
        if known is not None and not (retry and known.outcome.status != "ok"):
            self.report_trial(label, known, fresh=False)
            return known
        compiled = self._compiled.pop(variant.id, Verdict(status="ok"))
        verdict = self.verdicts.verdict(variant) if compiled.ok else compiled
        verdict = replace(verdict, resources={**verdict.resources, **compiled.resources})
        if not verdict.ok:
            return self.record(key, failure(verdict), variant, label=label)
        if self.reference is None:
            # a rough time is enough: the reference may be many times slower, and the finals time it
            effort = replace(effort, reference=True, rounds=REFERENCE_ROUNDS)
        measured = self.harness.measure(self.problem, [variant], stage=stage, effort=effort)
        if measured.reference is not None:
            self.reference = measured.reference.median
        return self.record(key, outcome_of(variant, verdict, measured), variant, label=label)

    def _known(self, key: TrialKey, variant: Variant) -> Trial | None:
        """The trial that makes another one unnecessary; also one of another tuner that runs now."""
        return self.store.known_trial(
            key,
            self.context.environment,
            variant_id=variant.id,
            sources=sources_of(self.problem, variant),
        )

    def record(self, key: TrialKey, outcome: Outcome, variant: Variant, *, label: str) -> Trial:
        """Commit a trial, then report it."""
        (trial,) = self.record_all([self.ended(key, outcome, variant)], label=label)
        return trial

    def ended(self, key: TrialKey, outcome: Outcome, variant: Variant) -> NewTrial:
        """A trial of this run that has ended."""
        return NewTrial(
            key=key,
            outcome=outcome,
            run_id=self.context.run,
            environment_id=self.context.environment,
            variant_id=variant.id,
            sources=sources_of(self.problem, variant),
        )

    def record_all(self, ended: Sequence[NewTrial], *, label: str) -> list[Trial]:
        """Commit trials that ended together in one transaction, then report them."""
        trials = self.store.record_trials(ended)
        self._trials += trials
        for trial in trials:
            self.report_trial(label, trial, fresh=True)
        return trials

    def report_trial(self, label: str, trial: Trial, *, fresh: bool) -> None:
        text = config_text(trial.key)
        self.context.report(TrialEnded(space=label, trial=trial, fresh=fresh, text=text))

    def _earlier_reference(self) -> float | None:
        """The reference's seconds, if a winner or a trial of this environment has them.

        A run that ended before its first winner has stored them with its first trial only.
        """
        winner = self.store.winner(self.problem.id(), self.context.target.name)
        if winner is not None and winner.environment_id == self.context.environment:
            return winner.reference
        for trial in reversed(self._trials):
            seconds = number(trial.outcome.resources.get(REFERENCE_TIMED))
            if seconds > 0:
                return seconds
        return None


def _expected(space: Space, config: Config, verdict: Verdict) -> float:
    """Seconds that the cost model predicts for a compiled config of a space."""
    return expected_seconds(space.stage, space.problem, config, space.target, verdict.resources)


def outcome_of(variant: Variant, verdict: Verdict, measured: Measured) -> Outcome:
    """The outcome of a right variant whose measurement succeeded or failed."""
    timing = measured.timings.get(variant.id)
    if measured.status != "ok" or timing is None:
        return Outcome(status=measured.status, message=measured.message, errors=verdict.errors)
    more: dict[str, Any] = {} if timing.eager is None else {"eager": timing.eager}
    if measured.reference is not None:
        more[REFERENCE_TIMED] = measured.reference.median
    return Outcome(
        status="ok",
        median=timing.median,
        low=timing.low,
        high=timing.high,
        samples=timing.samples,
        method=measured.method,
        errors=verdict.errors,
        resources={**verdict.resources, "conditions": measured.conditions, **more},
    )


def failure(verdict: Verdict) -> Outcome:
    """The outcome of a variant that was not measured: it failed to compile or is not right."""
    return Outcome(
        status=verdict.status,
        message=verdict.message,
        errors=verdict.errors,
        resources=verdict.resources,
    )


def config_text(key: TrialKey) -> str:
    """The axis values of a stage that differ from the defaults, or a whole variant as its text."""
    if key.stage is not None:
        return differing(key.config, defaults(KERNELS[key.stage].axes))
    return variant_text(key.plan, key.interface, key.config)
