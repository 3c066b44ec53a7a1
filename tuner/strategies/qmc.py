"""QMC: a scrambled Sobol sequence, which covers the axes more evenly than random configs do. Take
it where trials should tell about the whole space, e.g. for the importance of its axes.
"""

from __future__ import annotations

import warnings

import optuna

from gdn_ops.tuner.strategies import StrategySetup
from gdn_ops.tuner.strategies.sampled import Sampled, sampled


def make(setup: StrategySetup) -> Sampled:
    """A search with the sampler; it learns nothing from outcomes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.QMCSampler(seed=setup.seed, scramble=True)
    return sampled(setup, sampler)
