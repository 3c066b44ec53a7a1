"""The verdicts of the accuracy gate, remembered: each variant is checked once, for all sizes."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import Any

from gdn_ops.codegen.errors import ResultsError
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.variant import Variant
from gdn_ops.tuner.spaces.sources import sources_of
from gdn_ops.tuner.store.records import Trial
from gdn_ops.tuner.store.store import Store
from gdn_ops.tuner.workers.harness import Harness, Verdict

Identity = tuple[str, frozenset[tuple[str, str]]]
"""A variant's id and the hashes of its sources; a verdict holds for these."""

REPEATS = 2
"""Runs that must give the same bits before a config is timed."""

WINNER_REPEATS = 30
"""Runs that must give the same bits before a variant becomes the winner."""

REPEATS_PASSED = "bitwise_repeats"
"""Key in a trial's resources: how many runs of its variant gave the same bits."""

FINALISTS_TIMED = "finalists"
"""Key in a trial's resources: how many finalists it was timed with."""

REFERENCE_TIMED = "reference"
"""Key in a trial's resources: seconds of the reference, timed in the same run."""

ABOUT_ONE_TRIAL = (FINALISTS_TIMED, REFERENCE_TIMED, "conditions", "eager")
"""Keys in a trial's resources that describe how it was timed, not its variant."""

FAILURES_AT_ANY_SIZE = ("wrong", "nondeterministic")
"""Failures that apply to every size: the gate's cases have sizes of their own."""


class VerdictCache:
    """Remembers the gate's verdicts on the variants of a problem, whatever its sizes.

    It starts with the verdicts in the trials of earlier runs in the same environment.
    """

    def __init__(
        self, harness: Harness, store: Store, problem: Problem, *, target: str, environment: int
    ) -> None:
        self._harness, self._store, self._problem = harness, store, problem
        self._target, self._environment = target, environment
        self._verdicts: dict[Identity, Verdict] = {}

    @cached_property
    def _trials(self) -> dict[str, list[int]]:
        """The trials of all sizes that have a verdict, by variant; they are read when needed."""
        facts = _without_sizes(self._problem.facts())
        problems = self._store.problems()
        same = sorted(name for name, other in problems.items() if _without_sizes(other) == facts)
        return self._store.trials_of_variants(
            same, target=self._target, environment_id=self._environment,
            statuses=("ok", *FAILURES_AT_ANY_SIZE),
        )  # fmt: skip

    def verdict(self, variant: Variant) -> Verdict:
        """Whether a variant is right, as a variant must be before it is timed."""
        for trial in self._trials.pop(variant.id, ()):
            with suppress(ResultsError):  # a malformed row counts as missing
                self._learn(self._store.trial(trial))
        identity = self._identity(variant)
        if identity not in self._verdicts:
            verdict = self._harness.verify(self._problem, variant, repeats=REPEATS)
            self._verdicts[identity] = verdict
        return self._verdicts[identity]

    def winner_verdict(self, variant: Variant) -> Verdict:
        """Whether a variant is right and gives the same bits as often as a winner must."""
        if not proven_repeatable(self.verdict(variant).resources):
            verdict = self._harness.verify(self._problem, variant, repeats=WINNER_REPEATS)
            if verdict.ok:
                resources = {**verdict.resources, REPEATS_PASSED: WINNER_REPEATS}
                verdict = replace(verdict, resources=resources)
            self._verdicts[self._identity(variant)] = verdict
        return self.verdict(variant)

    def _identity(self, variant: Variant) -> Identity:
        sources = sources_of(self._problem, variant) or {}
        return variant.id, frozenset(sources.items())

    def _learn(self, trial: Trial) -> None:
        outcome = trial.outcome
        if trial.variant_id is None or outcome.status not in ("ok", *FAILURES_AT_ANY_SIZE):
            return
        if trial.sources is None:
            return
        identity = trial.variant_id, frozenset(trial.sources.items())
        before = self._verdicts.get(identity)
        # a failure at any size outlives what passed, in whatever order they are read
        unproven = before is None or (
            before.status == "ok" and not proven_repeatable(before.resources)
        )
        if unproven or outcome.status != "ok":
            self._verdicts[identity] = Verdict(
                status=outcome.status,
                message=outcome.message,
                errors=outcome.errors,
                resources={k: v for k, v in outcome.resources.items() if k not in ABOUT_ONE_TRIAL},
            )


def proven_repeatable(resources: Mapping[str, Any]) -> bool:
    """Whether a trial's resources say that its variant repeated as often as a winner must."""
    return number(resources.get(REPEATS_PASSED)) >= WINNER_REPEATS


def number(value: object) -> float:
    """A number from a trial's resources; 0 for any other kind of value."""
    return float(value) if isinstance(value, int | float) else 0.0


def _without_sizes(facts: Mapping[str, Any]) -> dict[str, Any]:
    """A problem's facts without its tokens and sequences."""
    return {name: fact for name, fact in facts.items() if name not in ("tokens", "sequences")}
