"""What is special of Optuna's samplers: their settings, few axes, and proposals of the slow one."""

from __future__ import annotations

from typing import Any

import pytest

from gdn_ops.tuner.replay import kernel_tuner_cache
from gdn_ops.tuner.replay.recorded_space import RecordedSpace
from gdn_ops.tuner.store.records import Outcome
from gdn_ops.tuner.strategies import StrategySetup, make_strategy
from tests.tuner.replay.recorded_file import kernel_tuner


@pytest.fixture(scope="module")
def space() -> RecordedSpace:
    return kernel_tuner_cache.space("toy", kernel_tuner())


def test_settings_reach_the_sampler(space: RecordedSpace) -> None:
    strategy: Any = make_strategy("tpe:candidates=7:startup=3", StrategySetup(space=space))
    assert strategy.study.sampler._n_startup_trials == 3
    assert strategy.study.sampler._n_ei_candidates == 7


def test_a_failure_is_a_violation_as_slow_as_the_slowest_and_every_trial_has_it(
    space: RecordedSpace,
) -> None:
    known = [(space.configs[0], Outcome(status="ok", median=3.0))]
    strategy: Any = make_strategy("tpe", StrategySetup(space=space, known=known))
    outcomes = [Outcome(status="ok", median=2.0), Outcome(status="timeout", message="hung")]
    for outcome in outcomes:
        config = strategy.ask()
        assert config is not None
        strategy.tell(config, outcome)
    trials = strategy.study.get_trials()
    assert [len(trial.constraints) for trial in trials] == [1] * len(trials)
    assert trials[-1].value == 3.0 and max(trials[-1].constraints.values()) > 0
    assert trials[0].value == 3.0 and max(trials[0].constraints.values()) == 0


def test_cmaes_enumerates_a_space_of_one_axis() -> None:
    pytest.importorskip("cmaes")
    line = RecordedSpace.of("line", "toy", [({"tile": tile}, 1.0) for tile in (16, 32, 64)])
    strategy = make_strategy("cmaes", StrategySetup(space=line))
    asked = [strategy.ask() for _ in range(4)]
    assert sorted(config["tile"] for config in asked if config) == [16, 32, 64]


def test_gp_proposes_valid_configs_once_with_some_pending_and_after_failures(
    space: RecordedSpace,
) -> None:
    pytest.importorskip("scipy")
    failed = [c for c in space.configs if space.outcome(c).status == "crash"]
    known = [(c, space.outcome(c)) for c in (*space.configs[::17], *failed[:3])]
    assert {outcome.status for _, outcome in known} == {"ok", "crash"}
    strategy: Any = make_strategy("gp:startup=2", StrategySetup(space=space, known=known))
    asked = [strategy.ask() for _ in range(2)]
    strategy.tell(asked[0], space.outcome(asked[0]))
    asked.append(strategy.ask())
    points = {space.point(config) for config, _ in known} | {space.point(c) for c in asked}
    assert len(points) == len(known) + 3 and all(map(space.is_valid, asked))
    assert strategy._rest is None, "the process proposed them"
