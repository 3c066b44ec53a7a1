"""Sampled: the configs of one space as a sampler of Optuna suggests them, none twice.

The study is in memory. The results database has every outcome, so the next search of the space
starts with a study of all that is known; a storage of Optuna on the disk would cost a dozen
commits per trial and say nothing more.

Optuna may suggest a config that it already knows or that is not valid, and goes on suggesting
failed ones. So a repeated suggestion is answered here with the known outcome, and a failure and an
invalid config are told as a violated constraint, as slow as the slowest config. If the suggestions
contain nothing new, the rest of the space is enumerated around the best config.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from enum import Enum
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    IntDistribution,
)
from optuna.trial import TrialState

from gdn_ops.codegen.axis import Axis, Config, Value
from gdn_ops.tuner.store.records import Outcome
from gdn_ops.tuner.strategies import StrategySetup
from gdn_ops.tuner.strategies.enumeration import Enumeration
from gdn_ops.tuner.strategies.features import is_number
from gdn_ops.tuner.strategies.search_space import Point

MAX_FRUITLESS = 24
"""Fruitless suggestions of a sampler that suggests in milliseconds."""

FAILS = "fails"
"""The constraint of every trial; a sampler may want all trials to have the same ones."""
VIOLATED, KEPT = 1.0, 0.0
SLOW = 1.0
"""Seconds of a failed config while none has succeeded."""


class Encoding(Enum):
    """How Optuna sees the values of an axis.

    A sampler takes an index for a number whose neighbours are alike, and nothing about a category.
    """

    NUMBERS_AS_INDICES = "the index of a number, a category for anything else"
    CATEGORIES = "a category for anything"
    INDICES = "an index for anything"


def sampled(
    setup: StrategySetup,
    sampler: optuna.samplers.BaseSampler,
    *,
    encoding: Encoding = Encoding.NUMBERS_AS_INDICES,
    fruitless: int = MAX_FRUITLESS,
) -> Sampled:
    """Make a study of the known outcomes, whatever strategy has found them.

    Args:
        fruitless: suggestions in a row without a new valid config after which the rest of the space
            is enumerated.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # it says that CMA-ES takes a failure for nothing but a slow config
    warnings.filterwarnings("ignore", message="Constraints have been set", category=UserWarning)
    return Sampled(optuna.create_study(sampler=sampler), setup, encoding, fruitless)


class Sampled:
    """An Optuna study that never suggests a config twice."""

    def __init__(
        self, study: optuna.Study, setup: StrategySetup, encoding: Encoding, fruitless: int
    ) -> None:
        self.space, self.study = setup.space, study
        self._encoding, self._fruitless = encoding, fruitless
        self._distributions = {axis.name: distribution(axis, encoding) for axis in self.space.axes}
        self._slowest = 0.0
        self._outcomes: dict[Point, Outcome] = {}
        self._asked: dict[Point, optuna.trial.Trial] = {}
        self._dropped: set[Point] = set()  # asked, and of no use so far; their trials have ended
        self._rest: Enumeration | None = None
        self._seed, self._first = setup.seed, list(setup.first)
        for config, outcome in setup.known:
            self.tell(config, outcome)

    def ask(self) -> Config | None:
        """The next config: the first ones, then Optuna's suggestions, then the rest."""
        while self._first:
            first = self._first.pop(0)
            if self._new(self.space.point(first)):
                self.study.enqueue_trial(self._encode(first))
                break
        suggested = self._suggest() if self._rest is None else None
        return suggested if suggested is not None else self._ask_rest()

    def tell(self, config: Config, outcome: Outcome) -> None:
        """Add the outcome of a config to the study, whether it was suggested or not."""
        point = self.space.point(config)
        self._outcomes[point] = outcome
        trial = self._asked.pop(point, None)
        if trial is None or point in self._dropped:
            self._add(point, outcome)
        else:
            self._finish(trial, outcome)

    def drop(self, config: Config) -> None:
        """Fail the study's trial of a suggested config, which is not suggested again."""
        point = self.space.point(config)
        trial = self._asked.get(point)
        if trial is not None:
            self._dropped.add(point)
            self.study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)

    def _suggest(self) -> Config | None:
        for _ in range(self._fruitless):
            trial = self.study.ask(self._distributions)
            config = self._decode(trial.params)
            point = self.space.point(config)
            if not self.space.is_valid(config):
                self._fail(trial)
            elif self._new(point):
                self._asked[point] = trial
                return config
            elif point in self._outcomes:
                self._finish(trial, self._outcomes[point])
            else:
                self.study.tell(
                    trial, state=TrialState.FAIL
                )  # suggested already, outcome not known yet
        return None

    def _ask_rest(self) -> Config | None:
        if self._rest is None:
            asked = [*self._outcomes, *self._asked]
            self._rest = Enumeration(self.space, seed=self._seed, asked=asked)
            if (best := self._best()) is not None:
                self._rest.nearest_to(best)
        return self._rest.ask()

    def _best(self) -> Config | None:
        times = {p: o.median for p, o in self._outcomes.items() if o.median is not None}
        if not times:
            return None
        best = min(times, key=times.__getitem__)
        return next(c for c in self.space.configs if self.space.point(c) == best)

    def _new(self, point: Point) -> bool:
        return point not in self._outcomes and point not in self._asked

    def _finish(self, trial: optuna.trial.Trial, outcome: Outcome) -> None:
        if outcome.median is None or outcome.status != "ok":
            self._fail(trial)
        else:
            self._slowest = max(self._slowest, outcome.median)
            trial.set_constraint(FAILS, KEPT)
            self.study.tell(trial, outcome.median, skip_if_finished=True)

    def _fail(self, trial: optuna.trial.Trial) -> None:
        trial.set_constraint(FAILS, VIOLATED)
        self.study.tell(trial, self._slowest or SLOW, skip_if_finished=True)

    def _add(self, point: Point, outcome: Outcome) -> None:
        names = [axis.name for axis in self.space.axes]
        kept = outcome.median is not None and outcome.status == "ok"
        if kept:
            self._slowest = max(self._slowest, outcome.median or 0.0)
        self.study.add_trial(
            optuna.create_trial(
                params=self._encode(dict(zip(names, point, strict=True))),
                distributions=self._distributions,
                value=outcome.median if kept else self._slowest or SLOW,
                constraints={FAILS: KEPT if kept else VIOLATED},
            )
        )

    def _encode(self, config: Config) -> dict[str, Any]:
        return {a.name: encode(a, config[a.name], self._encoding) for a in self.space.axes}

    def _decode(self, params: Mapping[str, Any]) -> dict[str, Value]:
        return {a.name: decode(a, params[a.name], self._encoding) for a in self.space.axes}


def distribution(axis: Axis, encoding: Encoding = Encoding.NUMBERS_AS_INDICES) -> BaseDistribution:
    """Optuna's distribution of an axis."""
    if _by_index(axis, encoding):
        return IntDistribution(0, len(axis.values) - 1)
    return CategoricalDistribution(axis.values)


def encode(axis: Axis, value: Value, encoding: Encoding = Encoding.NUMBERS_AS_INDICES) -> Value:
    """An axis value as Optuna stores it."""
    return axis.values.index(value) if _by_index(axis, encoding) else value


def decode(axis: Axis, value: Value, encoding: Encoding = Encoding.NUMBERS_AS_INDICES) -> Value:
    """An axis value from what Optuna stores."""
    return axis.values[int(value)] if _by_index(axis, encoding) else value


def _by_index(axis: Axis, encoding: Encoding) -> bool:
    if encoding is Encoding.NUMBERS_AS_INDICES:
        return is_number(axis)
    return encoding is Encoding.INDICES
