"""TPE: Optuna's default sampler, a tree-structured Parzen estimator. Take it to compare with: it
knows neither which configs are valid nor products of axes.
"""

from __future__ import annotations

import optuna

from gdn_ops.tuner.strategies import StrategySetup
from gdn_ops.tuner.strategies.sampled import Encoding, Sampled, sampled
from gdn_ops.tuner.strategies.settings import Setting

SETTINGS = (
    Setting("startup", 10, 0, 10_000, "random suggestions before the estimator is used"),
    Setting("candidates", 24, 1, 10_000, "draws of which the most promising one is suggested"),
)


def make(setup: StrategySetup, *, startup: int, candidates: int) -> Sampled:
    """A search with the sampler over categories, as a study without more knowledge has them."""
    sampler = optuna.samplers.TPESampler(
        seed=setup.seed, n_startup_trials=startup, n_ei_candidates=candidates
    )
    return sampled(setup, sampler, encoding=Encoding.CATEGORIES)
