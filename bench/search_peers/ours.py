"""The strategies of this project and, under the names that they have here, Optuna's samplers."""

from __future__ import annotations

from functools import partial
from importlib.metadata import version

from bench.search_peers.contender import MOST_EVALUATIONS, CannotRun, Contender
from gdn_ops.codegen.errors import GdnError
from gdn_ops.tuner.replay.recorded_space import RecordedSpace
from gdn_ops.tuner.strategies import STRATEGIES, StrategySetup, make_strategy

OWN = ("enumeration", "model")


def contenders() -> list[Contender]:
    """Every strategy of ``gdn tune``."""
    own, optuna = f"gdn-ops {version('gdn-ops')}", f"Optuna {version('optuna')}"
    return [
        Contender(
            f"gdn-ops {name}" if name in OWN else f"Optuna {name}",
            own if name in OWN else optuna,
            partial(search, name),
        )
        for name in STRATEGIES
    ]


def search(name: str, space: RecordedSpace, seed: int) -> list[float | None]:
    """Search a space as ``gdn replay`` does.

    Raises:
        CannotRun: a package of the strategy is missing.
    """
    try:
        strategy = make_strategy(name, StrategySetup(space=space, seed=seed))
    except GdnError as error:
        raise CannotRun(str(error)) from error
    evaluated: list[float | None] = []
    while len(evaluated) < MOST_EVALUATIONS and (config := strategy.ask()) is not None:
        outcome = space.outcome(config)
        strategy.tell(config, outcome)
        evaluated.append(outcome.median)
    return evaluated
