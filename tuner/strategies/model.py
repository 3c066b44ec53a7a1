"""Model: a Gaussian process over the valid configs. Take it for spaces that are too large to
enumerate; it needs the fewest trials.

It starts with configs that are spread out, then proposes the config with the highest expected
improvement of the logarithm of the time. Failures are learnt apart, as a probability to succeed. It
knows every valid config, so it never proposes another one, nor one twice. Given winners of other
problems, it looks first among what resembles them (``prior``), and around the fastest config.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import pi, sqrt
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState
from threadpoolctl import ThreadpoolController

from gdn_ops.codegen.axis import Config
from gdn_ops.tuner.strategies import StrategySetup
from gdn_ops.tuner.strategies.features import Array, features
from gdn_ops.tuner.strategies.gaussian_process import Doubles, GaussianProcess, Rows
from gdn_ops.tuner.strategies.prior import Prior
from gdn_ops.tuner.strategies.sampled import Sampled, decode, distribution, encode, sampled
from gdn_ops.tuner.strategies.search_space import SearchSpace

START, START_GIVEN = 4, 2
"""Trials before the model is asked; and those besides configs that were given to be tried first."""
SPREAD = 8
"""Of this many random configs the start takes the one that is farthest from what was tried."""
WINNERS = 2
"""Given configs from which on they say where fast ones are; a single one is the default."""
NEIGHBOUR_EVERY = 4
"""Every so many trials of a search with winners stay at the fastest config and change one axis."""
SLOW_QUANTILE = 0.8
"""Slower configs count as if they were this slow: how bad a bad one is says little."""
MOST_POINTS = 200
"""Trials that the model sees; of more, the fastest half of this number and a sample of the rest."""
MOST_PAIRS = 400_000
"""Trials times configs that are compared in one proposal; bounds its time to some 10 ms."""
NEAR = 4
"""Of too many configs those near this many of the fastest are compared, and a random sample."""
FIRST_STEPS, STEPS, LATE_STEPS, LATE = 20, 4, 2, 100
"""Steps of the fit at the first proposal, at later ones, and from ``LATE`` trials on; of more than
``MOST_POINTS`` trials there is one, because a trial changes little."""
SUCCEEDS, LIKELY = 0.9, 0.3
"""Probability that a config succeeds if nothing like it was tried; and the one that a config must
have to be proposed while another has it."""
MOST_FAILURES = 60
"""Failures, the latest ones, and as many successes, from which that probability is learnt."""


def make(setup: StrategySetup) -> Sampled:
    """A search with the sampler."""
    return sampled(setup, ModelSampler(setup.space, seed=setup.seed, first=setup.first))


class ModelSampler(optuna.samplers.BaseSampler):
    """Proposes configs of one space to the studies of that space.

    Args:
        first: configs that the study has before any proposal. Several of them are taken for winners
            of other problems.
    """

    def __init__(self, space: SearchSpace, *, seed: int, first: Sequence[Config] = ()) -> None:
        self._space, self._seed = space, seed
        self._distributions = {axis.name: distribution(axis) for axis in space.axes}
        self._rows = {space.point(config): row for row, config in enumerate(space.configs)}
        self._features = features(space)
        self._squared_norms = np.sum(self._features.position**2, axis=1)
        self._process = GaussianProcess(self._features)
        self._successes = GaussianProcess(self._features)
        self._steps = FIRST_STEPS
        self._untried = np.ones(len(self._rows), dtype=bool)
        self._times: dict[int, float] = {}
        self._failures: list[int] = []
        self._finished: set[int] = set()
        self._settled = 0  # the first trials, of which nothing new can come
        valid = (self._rows.get(space.point(config)) for config in first)
        self._given = np.array(sorted({row for row in valid if row is not None}), dtype=np.intp)
        self._prior = (
            Prior(space.axes, self._features.indices, self._given)
            if len(self._given) >= WINNERS
            else None
        )
        self._threads = ThreadpoolController()

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._distributions

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The parameters of the next config; none if every config was proposed."""
        pending = self._read(study, trial)
        self._untried[pending] = False
        untried = np.flatnonzero(self._untried)
        if not len(untried):
            return {}
        # the matrices are small, and on a busy machine NumPy would wait for its other threads
        with self._threads.limit(limits=1, user_api="blas"):
            row = self._choice(pending, untried)
        self._untried[row] = False
        config = self._space.configs[row]
        return {axis.name: encode(axis, config[axis.name]) for axis in self._space.axes}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """A random value; only asked for when every config was proposed."""
        generator = np.random.default_rng((self._seed, trial.number))
        axis = next(axis for axis in self._space.axes if axis.name == param_name)
        return encode(axis, axis.values[generator.integers(len(axis.values))])

    def _read(self, study: optuna.Study, current: FrozenTrial) -> list[int]:
        """Take over the finished trials; return the rows that are being tried."""
        pending = []
        trials = study.get_trials(deepcopy=False)
        for trial in trials[self._settled :]:
            if trial.number in self._finished or trial.number == current.number:
                continue
            row = self._row(trial)
            if row is None or trial.state not in (TrialState.COMPLETE, TrialState.RUNNING):
                continue
            if trial.state == TrialState.RUNNING:
                pending.append(row)
            else:
                self._finished.add(trial.number)
                self._untried[row] = False
                failed = any(violation > 0 for violation in trial.constraints.values())
                if failed or trial.value is None:
                    self._failures.append(row)
                else:
                    self._times[row] = trial.value
        while self._settled < len(trials) and trials[self._settled].state.is_finished():
            self._settled += 1
        return pending

    def _row(self, trial: FrozenTrial) -> int | None:
        """The row of a trial's config; None if it is not in the space."""
        if not set(self._distributions) <= set(trial.params):
            return None
        return self._rows.get(tuple(decode(a, trial.params[a.name]) for a in self._space.axes))

    def _choice(self, pending: Sequence[int], untried: Rows) -> int:
        times, failures = self._times, self._failures
        begun = len(self._finished) + len(pending)
        generator = np.random.default_rng((self._seed, begun))
        # winners of other problems resemble each other, so they are no spread-out start
        own = begun - int(np.count_nonzero(~self._untried[self._given]))
        if len(times) < 2 or own < (START if self._prior is None else START_GIVEN):
            return self._far_from([*times, *failures, *pending], untried, generator)
        good, y = _informative(times, generator)
        bad = np.array(failures[-MOST_FAILURES:], dtype=np.intp)
        busy = np.array(pending, dtype=np.intp)
        some = self._some(good, y, len(bad) + len(busy), untried, generator)
        self._process.fit(good, y, steps=self._steps)
        self._steps = STEPS if len(good) < LATE else LATE_STEPS if len(times) < MOST_POINTS else 1
        gain, mean = self._gain(good, y, busy, some)
        if self._prior is not None:
            gain *= self._prior.weight(some, failures, trial=1 + own)
        if len(bad):
            probability = self._success(good, bad, some, generator)
            likely = probability >= min(LIKELY, float(probability.max()))
            some, gain, mean = some[likely], (gain * probability)[likely], mean[likely]
        if self._prior is not None and own % NEIGHBOUR_EVERY == 0:
            near = self._prior.neighbours(min(times, key=times.__getitem__), some)
            if near.any():
                return int(some[near][np.argmin(mean[near])])
        # the gain underflows to 0 where the model is sure that nothing better is left
        return int(some[np.argmax(gain) if gain.max() > 0 else np.argmin(mean)])

    def _gain(self, good: Rows, y: Doubles, busy: Rows, some: Rows) -> tuple[Array, Array]:
        """The expected improvement, and the mean; configs being tried count as if they were as
        predicted."""
        best = float(y.min())
        if len(busy):
            between = self._process.covariance(good, busy)
            believed, _ = self._process.predict(good, y, between, busy)
            good, y = np.append(good, busy), np.append(y, believed)
        between = self._process.covariance(good, some)
        mean, deviation = self._process.predict(good, y, between, some)
        return _expected_improvement(best, mean, deviation), mean

    def _far_from(self, tried: Sequence[int], untried: Rows, generator: np.random.Generator) -> int:
        some = generator.choice(untried, min(SPREAD, len(untried)), replace=False)
        if not tried:
            return int(some[0])
        position = self._features.position
        apart = position[some][:, None] - position[list(tried)][None]
        return int(some[np.argmax(np.sum(apart**2, -1).min(1))])

    def _some(
        self, good: Rows, y: Doubles, others: int, untried: Rows, generator: np.random.Generator
    ) -> Rows:
        """The untried configs that are compared: all, or those near the fastest and a sample."""
        most = MOST_PAIRS // (len(good) + others)
        if len(untried) <= most:
            return untried
        position = self._features.position
        fastest = position[good[np.argsort(y)[:NEAR]]]
        # squared distances, as one product of matrices: there may be some ten thousand configs
        products = position @ fastest.T
        apart = np.min(np.sum(fastest**2, 1) - 2 * products, axis=1)
        apart = (apart + self._squared_norms)[untried]
        near = np.argpartition(apart, most // 2)
        sample = generator.choice(near[most // 2 :], most - most // 2, replace=False)
        chosen: Rows = untried[np.append(near[: most // 2], sample)]
        return chosen

    def _success(self, good: Rows, bad: Rows, some: Rows, generator: np.random.Generator) -> Array:
        """The probability that configs succeed, given some that did and those that failed.

        It has a process of its own, because what decides about failures need not decide about time.
        """
        count = min(len(good), MOST_FAILURES)
        rows = np.append(generator.choice(good, count, replace=False), bad)
        outcome = np.where(np.arange(len(rows)) < count, 1 - SUCCEEDS, -SUCCEEDS)
        self._successes.fit(rows, outcome, steps=LATE_STEPS)
        probability: Array = np.clip(SUCCEEDS + self._successes.mean(rows, outcome, some), 0, 1)
        return probability


def _informative(
    times: dict[int, float], generator: np.random.Generator
) -> tuple[Rows, NDArray[np.float64]]:
    """The rows that the model sees, and their times as it sees them: logarithms, standardized."""
    rows = np.array(list(times), dtype=np.intp)
    y = np.log(np.array(list(times.values())))
    y = np.minimum(y, np.quantile(y, SLOW_QUANTILE))
    y = (y - y.mean()) / max(y.std(), 1e-9)
    if len(rows) > MOST_POINTS:
        order = np.argsort(y, kind="stable")
        half = MOST_POINTS // 2
        chosen = np.append(order[:half], generator.choice(order[half:], half, replace=False))
        rows, y = rows[chosen], y[chosen]
    return rows, y


def _expected_improvement(best: float, mean: Array, deviation: Array) -> Array:
    score = (best - mean) / deviation
    density = np.exp(-0.5 * score**2) / sqrt(2 * pi)
    gain: Array = (best - mean) * _below(score, density) + deviation * density
    return gain


def _below(score: Array, density: Array) -> Array:
    """The normal distribution function to 1e-7 (Abramowitz and Stegun 26.2.17)."""
    t = 1 / (1 + 0.2316419 * np.abs(score))
    tail = np.zeros_like(t)
    for coefficient in (1.330274429, -1.821255978, 1.781477937, -0.356563782, 0.319381530):
        tail = t * (tail + coefficient)
    tail *= density
    result: Array = np.where(score > 0, 1 - tail, tail)
    return result
