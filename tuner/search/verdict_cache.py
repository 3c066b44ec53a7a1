"""The accuracy gate as a tuning session asks it: each variant once, whatever the sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.variant import Variant
from gdn_ops.tuner.spaces.sources import sources_of
from gdn_ops.tuner.store.records import Trial
from gdn_ops.tuner.store.store import Store
from gdn_ops.tuner.workers.harness import Harness, Verdict

Identity = tuple[str, frozenset[tuple[str, str]]]
"""A variant's id and the hashes of its sources: what a verdict is about."""

REPEATS = 2
"""Runs that must agree bitwise before a config is timed."""

WINNER_REPEATS = 30
"""Bitwise equal runs that a winner needs."""

REPEATED = "bitwise_repeats"
"""Under this name the resources of a trial say how many repeats its variant passed."""

FINALISTS_TIMED = "finalists"
"""Under this name the resources of a trial say in how large finals it was timed."""

REFERENCE_TIMED = "reference"
"""Under this name the resources of a trial keep the reference's seconds, timed along with it."""

OF_ONE_TRIAL = (FINALISTS_TIMED, REFERENCE_TIMED, "conditions", "eager")
"""Resources that say how a trial was timed, and nothing of its variant."""

NOT_ABOUT_SIZES = ("wrong", "nondeterministic")
"""Failures of the gate itself. It holds its own sizes, so they hold for every size."""


class VerdictCache:
    """Remembers what the accuracy gate said of the variants of a problem, at any size."""

    def __init__(
        self, harness: Harness, store: Store, problem: Problem, *, target: str, environment: int
    ) -> None:
        self._harness, self._problem = harness, problem
        self._verdicts: dict[Identity, Verdict] = {}
        facts = _without_sizes(problem.facts())
        same = {name for name, f in store.problems().items() if _without_sizes(f) == facts}
        for trial in store.trials(target=target):
            if trial.environment_id == environment and trial.key.problem_id in same:
                self._learn(trial)

    def verdict(self, variant: Variant) -> Verdict:
        """Whether a variant is right."""
        identity = self._identity(variant)
        if identity not in self._verdicts:
            verdict = self._harness.verify(self._problem, variant, repeats=REPEATS)
            self._verdicts[identity] = verdict
        return self._verdicts[identity]

    def proof(self, variant: Variant) -> Verdict:
        """Whether a variant is right and repeats as often as a winner must."""
        if not proven(self.verdict(variant).resources):
            verdict = self._harness.verify(self._problem, variant, repeats=WINNER_REPEATS)
            if verdict.ok:
                resources = {**verdict.resources, REPEATED: WINNER_REPEATS}
                verdict = replace(verdict, resources=resources)
            self._verdicts[self._identity(variant)] = verdict
        return self.verdict(variant)

    def _identity(self, variant: Variant) -> Identity:
        sources = sources_of(self._problem, variant) or {}
        return variant.id, frozenset(sources.items())

    def _learn(self, trial: Trial) -> None:
        outcome = trial.outcome
        if trial.variant_id is None or outcome.status not in ("ok", *NOT_ABOUT_SIZES):
            return
        if trial.sources is None:
            return
        identity = trial.variant_id, frozenset(trial.sources.items())
        before = self._verdicts.get(identity)
        if before is None or not proven(before.resources) or outcome.status != "ok":
            self._verdicts[identity] = Verdict(
                status=outcome.status,
                message=outcome.message,
                errors=outcome.errors,
                resources={k: v for k, v in outcome.resources.items() if k not in OF_ONE_TRIAL},
            )


def proven(resources: Mapping[str, Any]) -> bool:
    """Whether a trial's resources say that a winner's repeats were passed."""
    return number(resources.get(REPEATED)) >= WINNER_REPEATS


def number(value: object) -> float:
    """A number out of a trial's resources; 0 for anything else that may stand there."""
    return float(value) if isinstance(value, int | float) else 0.0


def _without_sizes(facts: Mapping[str, Any]) -> dict[str, Any]:
    """A problem's facts but its tokens and sequences."""
    return {name: fact for name, fact in facts.items() if name not in ("tokens", "sequences")}
