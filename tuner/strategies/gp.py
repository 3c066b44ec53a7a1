"""GP: Optuna's Gaussian process. Take it to compare with `model`, and for few trials alone: a
suggestion takes 0.1 to 1 s, and longer with each trial.
"""

from __future__ import annotations

import optuna

from gdn_ops.tuner.strategies import StrategySetup
from gdn_ops.tuner.strategies.sampled import Encoding, Sampled, sampled
from gdn_ops.tuner.strategies.settings import Setting

SETTINGS = (Setting("startup", 10, 0, 10_000, "random suggestions before the process is used"),)
FRUITLESS = 8
"""Few, because each takes as long as one that is taken."""


def make(setup: StrategySetup, *, startup: int) -> Sampled:
    """A search with the sampler."""
    sampler = optuna.samplers.GPSampler(
        seed=setup.seed, n_startup_trials=startup, warn_independent_sampling=False
    )
    return sampled(setup, sampler, encoding=Encoding.CATEGORIES, fruitless=FRUITLESS)
