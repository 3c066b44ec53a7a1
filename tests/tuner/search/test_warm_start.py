"""Warm start: which problems' best configs a search tries first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from gdn_ops.codegen.problem import Problem
from gdn_ops.tuner.search.trial_runner import TrialRunner
from gdn_ops.tuner.search.warm_start import nearest_best_configs
from gdn_ops.tuner.spaces.space import Space, plans_for
from gdn_ops.tuner.store.records import Outcome
from tests.tuner.search.recorded import CPU, PROBLEM, RecordedHarness, bench, toy_plans


def _space(problem: Problem) -> Space:
    (space,) = plans_for(problem, CPU)["large"][0]
    return space


def test_nearest_problems_come_first_and_those_that_could_not_share_a_winner_last(
    tmp_path: Path,
) -> None:
    others = {
        1: replace(PROBLEM, dtype="fp32"),
        2: replace(PROBLEM, tokens=4 * PROBLEM.tokens),
        4: replace(PROBLEM, varlen=True, initial_state=True),
        8: replace(PROBLEM, tokens=2 * PROBLEM.tokens),
    }
    with toy_plans("large"), bench(tmp_path / "r.db", RecordedHarness()) as b:
        for value, problem in others.items():
            config = {**_space(problem).default, "a": value}
            TrialRunner(b.context, problem).run(_space(problem), config, best=None)
        found = nearest_best_configs(_space(PROBLEM), b.store)
        assert [config["a"] for config in found] == [4, 8, 2], "the other dtype is one too many"


def test_a_problem_without_its_sizes_is_left_out(tmp_path: Path) -> None:
    other = replace(PROBLEM, tokens=128)
    with toy_plans("large"), bench(tmp_path / "r.db", RecordedHarness()) as b:
        space = _space(other)
        TrialRunner(b.context, other).run(space, space.initial_config, best=None)
        assert len(nearest_best_configs(_space(PROBLEM), b.store)) == 1
        b.store.add_problem(other.id(), {**other.facts(), "tokens": "many"})
        assert nearest_best_configs(_space(PROBLEM), b.store) == []


def test_a_neighbours_best_config_is_one_whose_time_is_ranked(tmp_path: Path) -> None:
    other = replace(PROBLEM, tokens=128)
    with toy_plans("large"), bench(tmp_path / "r.db", RecordedHarness()) as b:
        space, runner = _space(other), TrialRunner(b.context, other)
        ranked, unranked = space.configs[:2]
        runner.run(space, ranked, best=None)
        eager = Outcome(status="ok", median=1e-9, method="cuda-eager")
        runner.record(space.key(unranked), eager, space.variant(unranked), label="large")
        assert nearest_best_configs(_space(PROBLEM), b.store) == [ranked]
