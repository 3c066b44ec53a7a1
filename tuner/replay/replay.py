"""Replay: one strategy in one recorded space, and how near it comes to the optimum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gdn_ops.codegen.axis import Config
from gdn_ops.tuner.replay.recorded_space import RecordedSpace
from gdn_ops.tuner.strategies import StrategySetup, make_strategy

CHECKPOINTS = (25, 50, 100, 200)
"""Evaluations after which the best config is compared with the optimum."""
MOST_EVALUATIONS = CHECKPOINTS[-1]
WINNERS = 3
"""Configs of each other space that are known, the fastest of it first."""
CONFIDENCE = 0.95
RESAMPLES = 2000


@dataclass(frozen=True)
class Score:
    """The fraction of the optimum that a strategy reached: a mean over seeds and its interval."""

    mean: float
    low: float
    high: float


def fractions(
    name: str, space: RecordedSpace, *, seed: int, first: Sequence[Config] = ()
) -> list[float]:
    """What ``search`` reaches of the optimum; see ``reached``.

    Args:
        first: configs that are evaluated before any other.
    """
    return reached(search(name, space, seed=seed, first=first), space.optimum)


def search(
    name: str, space: RecordedSpace, *, seed: int, first: Sequence[Config] = ()
) -> list[float | None]:
    """The seconds of each config in the order of evaluation, None for one that failed.

    No config is evaluated twice. There are ``MOST_EVALUATIONS``, or fewer if the strategy runs out
    of configs.
    """
    strategy = make_strategy(name, StrategySetup(space=space, seed=seed, first=first))
    evaluated: list[float | None] = []
    while len(evaluated) < MOST_EVALUATIONS and (config := strategy.ask()) is not None:
        outcome = space.outcome(config)
        strategy.tell(config, outcome)
        evaluated.append(outcome.median)
    return evaluated


def reached(evaluated: Sequence[float | None], optimum: float) -> list[float]:
    """The optimum over the best time, at each of ``CHECKPOINTS``; 0 while nothing succeeded.

    A search that ended early keeps what it reached.
    """
    best = (
        min((x for x in evaluated[:count] if x is not None), default=float("inf"))
        for count in CHECKPOINTS
    )
    return [optimum / seconds for seconds in best]


def winners_elsewhere(space: RecordedSpace, spaces: Sequence[RecordedSpace]) -> list[Config]:
    """The fastest configs of the other spaces of the same kernel that are valid in this one.

    The fastest of each space come first, then the second of each.
    """
    others = [s for s in spaces if s is not space and s.kernel and s.kernel == space.kernel]
    names = {axis.name for axis in space.axes}
    lists = [s.best(WINNERS) for s in others if {axis.name for axis in s.axes} == names]
    ranked = [configs[i] for i in range(WINNERS) for configs in lists if i < len(configs)]
    return [config for config in ranked if space.is_valid(config)]


def score(samples: Sequence[float], *, seed: int = 0) -> Score:
    """The mean of one figure per seed, with its 95 % bootstrap interval."""
    figures = np.asarray(samples, dtype=np.float64)
    generator = np.random.default_rng(seed)
    drawn = generator.choice(figures, size=(RESAMPLES, len(figures))).mean(axis=1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, (tail, 1 - tail))
    return Score(float(figures.mean()), float(low), float(high))
