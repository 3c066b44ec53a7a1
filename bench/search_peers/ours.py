"""The strategies of this project and, under the names that they have here, Optuna's samplers."""

from __future__ import annotations

from functools import partial
from importlib.metadata import version

from bench.search_peers.contender import CannotRun, Contender
from gdn_ops.codegen.errors import GdnError
from gdn_ops.tuner.replay import replay
from gdn_ops.tuner.replay.recorded_space import RecordedSpace
from gdn_ops.tuner.strategies import STRATEGIES

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
        return replay.search(name, space, seed=seed)
    except GdnError as error:
        raise CannotRun(str(error)) from error
