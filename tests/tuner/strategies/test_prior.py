"""The prior: it favours mixtures of winners, forgets those that fail, and fades."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from gdn_ops.codegen.axis import Config
from gdn_ops.tuner.replay import kernel_tuner_cache
from gdn_ops.tuner.replay.recorded_space import RecordedSpace
from gdn_ops.tuner.store.records import Outcome
from gdn_ops.tuner.strategies import StrategySetup, make_strategy
from gdn_ops.tuner.strategies.features import axis_indices
from gdn_ops.tuner.strategies.prior import Prior
from tests.tuner.replay.recorded_file import kernel_tuner

WINNERS = (
    {"tile": 64, "warps": 2, "form": "plain", "unroll": 1},
    {"tile": 64, "warps": 8, "form": "fancy", "unroll": 1},
)


@pytest.fixture(scope="module")
def space() -> RecordedSpace:
    return kernel_tuner_cache.space("toy", kernel_tuner())


def weights(
    space: RecordedSpace,
    configs: Sequence[Config],
    *,
    failed: Sequence[Config] = (),
    trial: int = 1,
) -> list[float]:
    row = space.configs.index
    prior = Prior(space.axes, axis_indices(space), np.array([row(config) for config in WINNERS]))
    rows = np.array([row(config) for config in configs])
    return prior.weight(rows, [row(config) for config in failed], trial=trial).tolist()


def test_mixtures_of_winners_and_numbers_next_to_theirs_are_likelier(space: RecordedSpace) -> None:
    first, second = WINNERS
    mixture = {**first, "form": second["form"]}
    near, far = ({**first, "tile": tile} for tile in (32, 16))
    strange = {**first, "form": "wide"}
    likely = weights(space, [first, mixture, near, far, strange])
    assert likely[0] == pytest.approx(likely[1]) == 1.0
    assert 1.0 > likely[2] > likely[3] > 0
    assert likely[3] > likely[4] > 0


def test_a_winner_that_fails_here_says_nothing(space: RecordedSpace) -> None:
    first, second = WINNERS
    both = weights(space, [first, second])
    one = weights(space, [first, second], failed=[second])
    assert both[1] == 1.0 > one[1]
    assert weights(space, [first, second], failed=WINNERS) == [1.0, 1.0]


def test_the_prior_fades(space: RecordedSpace) -> None:
    strange = {**WINNERS[0], "form": "wide"}
    early, later, last = (weights(space, [strange], trial=n)[0] for n in (1, 10, 1000))
    assert early < later < last
    assert last > 0.95


def test_a_search_with_winners_tries_them_and_stays_near_the_fastest(space: RecordedSpace) -> None:
    strategy = make_strategy("model", StrategySetup(space=space, seed=1, first=WINNERS))
    best: Config = {}
    seconds, proposed, near = float("inf"), [], []
    for _ in range(16):
        config = strategy.ask()
        assert config is not None
        proposed.append(config)
        near.append(sum(config[axis] != best.get(axis) for axis in config) == 1)
        took = float(int(config["tile"]) + 3 * int(config["warps"]) + int(config["unroll"]))
        strategy.tell(config, Outcome(status="ok", median=took))
        if took < seconds:
            best, seconds = config, took
    given = len(WINNERS)
    assert proposed[:given] == list(WINNERS)
    assert all(near[given + 4 :: 4]), "every fourth trial changes one axis of the fastest"
