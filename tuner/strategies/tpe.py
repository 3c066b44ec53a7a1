"""TPE: Optuna's tree-structured Parzen estimator. Take it to compare with: it knows neither which
configs are valid nor products of axes.
"""

from __future__ import annotations

import optuna

from gdn_ops.tuner.strategies import StrategySetup
from gdn_ops.tuner.strategies.sampled import Sampled, sampled

RANDOM_SUGGESTIONS = 6
"""Random suggestions before the estimator is used; few, because trials are expensive."""


def make(setup: StrategySetup) -> Sampled:
    """A search with the sampler."""
    sampler = optuna.samplers.TPESampler(seed=setup.seed, n_startup_trials=RANDOM_SUGGESTIONS)
    return sampled(setup, sampler)
