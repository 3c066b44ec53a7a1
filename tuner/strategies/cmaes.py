"""CMA-ES: evolves a normal distribution over the indices of the axes' values. Take it to compare
with, and for hundreds of trials over long axes of numbers.

It learns only from what it suggested itself, so configs known before do not help it. The order of
categories means nothing, and it is given one all the same: else it would leave them to chance. A
space with fewer than two axes of several values is enumerated.
"""

from __future__ import annotations

import warnings

import optuna

from gdn_ops.tuner.strategies import Strategy, StrategySetup, enumeration
from gdn_ops.tuner.strategies.sampled import Encoding, sampled
from gdn_ops.tuner.strategies.settings import Setting

SETTINGS = (
    Setting("startup", 1, 0, 10_000, "random suggestions before the first generation"),
    Setting("population", 10, 4, 10_000, "configs per generation"),
)
LEAST_AXES = 2


def make(setup: StrategySetup, *, startup: int, population: int) -> Strategy:
    """A search with the sampler; no step is smaller than a step of an index."""
    if sum(len(axis.values) > 1 for axis in setup.space.axes) < LEAST_AXES:
        return enumeration.make(setup)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # the margin
        sampler = optuna.samplers.CmaEsSampler(
            seed=setup.seed,
            n_startup_trials=startup,
            popsize=population,
            with_margin=True,
            warn_independent_sampling=False,
        )
    return sampled(setup, sampler, encoding=Encoding.INDICES)
