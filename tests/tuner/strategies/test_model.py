"""The model: what its features know, what it predicts, and that it learns failures as failures."""

from __future__ import annotations

import numpy as np
import pytest

from gdn_ops.tuner.replay import kernel_tuner_cache
from gdn_ops.tuner.replay.recorded_space import RecordedSpace
from gdn_ops.tuner.store.records import Outcome
from gdn_ops.tuner.strategies import StrategySetup, make_strategy
from gdn_ops.tuner.strategies.features import features
from gdn_ops.tuner.strategies.gaussian_process import GaussianProcess
from tests.tuner.replay.recorded_file import kernel_tuner


@pytest.fixture(scope="module")
def space() -> RecordedSpace:
    return kernel_tuner_cache.space("toy", kernel_tuner())


def test_features_know_products_of_tile_sizes_and_categories(space: RecordedSpace) -> None:
    position = features(space).position
    rows = [{"tile": t, "warps": w, "form": "wide", "unroll": 1} for t, w in ((64, 4), (128, 2))]
    first, second = (position[space.configs.index(row)] for row in rows)
    assert np.flatnonzero(first == second).size > position.shape[1] / 3
    product = np.log2([int(c["tile"]) * int(c["warps"]) for c in space.configs])
    assert any(np.corrcoef(column, product)[0, 1] > 0.9999 for column in position.T)
    assert position.min() == 0 and position.max() == 1


def test_a_space_of_one_config_has_features(space: RecordedSpace) -> None:
    single = RecordedSpace.of("one", "", [({"tile": 16}, 1.0)])
    strategy = make_strategy("model", StrategySetup(space=single))
    assert strategy.ask() == {}
    assert strategy.ask() is None


def test_the_process_predicts_what_it_was_not_told_and_doubts_it(space: RecordedSpace) -> None:
    known = features(space)
    y = np.array([np.log2(float(int(c["tile"]))) - (c["form"] == "fancy") for c in space.configs])
    y = (y - y.mean()) / y.std()
    rows = np.random.default_rng(0).permutation(len(y))
    told, others = rows[:40], rows[40:]
    process = GaussianProcess(known)
    process.fit(told, y[told], steps=20)
    mean, deviation = process.predict(told, y[told], process.covariance(told, others), others)
    assert np.sqrt(np.mean((mean - y[others]) ** 2)) < 0.1
    own, sure = process.predict(told, y[told], process.covariance(told, told), told)
    assert np.abs(own - y[told]).max() < 0.1
    assert np.median(sure) < np.median(deviation)


def test_failures_are_learnt_as_failures(space: RecordedSpace) -> None:
    strategy = make_strategy("model", StrategySetup(space=space, seed=3))
    failed = []
    for _ in range(50):
        config = strategy.ask()
        assert config is not None
        wide = config["form"] == "wide"
        failed.append(wide)
        seconds = float(int(config["tile"]) + 3 * int(config["warps"]) + int(config["unroll"]))
        crash = Outcome(status="crash", message="recorded")
        strategy.tell(config, crash if wide else Outcome(status="ok", median=seconds))
    assert sum(failed[:10]) > 0
    assert sum(failed[10:]) <= 6, "a third of the configs are wide"


def test_a_dropped_config_is_not_proposed_again_but_in_the_next_run_it_may_be(
    space: RecordedSpace,
) -> None:
    setup = StrategySetup(space=space)
    for _ in range(2):
        strategy = make_strategy("model", setup)
        points = set()
        for _ in range(6):
            config = strategy.ask()
            assert config is not None
            points.add(space.point(config))
            strategy.drop(config)
        assert len(points) == 6
