"""Descent: the fastest config by predicted seconds, for few of them compiled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import cast
from unittest.mock import patch

import pytest

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.errors import CompileError, UnsupportedProblem
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.targets import target_named
from gdn_ops.tuner.cost.descent import descend, neighbours
from gdn_ops.tuner.cost.model import CostModel
from gdn_ops.tuner.cost.prediction import predict
from gdn_ops.tuner.spaces.space import Space, plans_for
from tests.tuner.search.recorded import PROBLEM, SecondsOf, stage_seconds, toy_plans

H200 = target_named("h200")


@pytest.fixture(autouse=True)
def toys() -> Iterator[None]:
    """Toy plans of kernels that a GPU runs."""
    with toy_plans("single", "pair", "large"):
        compiled = {
            name: replace(spec, template=f"triton/{name}") for name, spec in KERNELS.items()
        }
        with patch.dict(KERNELS, compiled):
            yield


@dataclass
class FakeModel:
    """A cost model with seconds from a formula; infinite ones do not compile."""

    seconds: SecondsOf = stage_seconds
    target: Target = H200
    compiled: list[tuple[str, str]] = field(default_factory=list)

    def compile(self, work: list[tuple[str, str, Problem, Config]]) -> None:
        self.compiled += [(stage, repr(config)) for _, stage, _, config in work]

    def stage_seconds(self, plan: str, stage: str, problem: Problem, config: Config) -> float:
        seconds = self.seconds(stage, config)
        if seconds == float("inf"):
            raise CompileError(f"{stage} does not compile")
        return seconds


def space_of(plan: str) -> Space:
    return plans_for(PROBLEM, H200)[plan][0][0]


def walked(space: Space, seconds: SecondsOf, budget: int = 100) -> tuple[Config, list[Config]]:
    """The config a descent ends at, and those it asked for."""
    walk, asked = descend(space, budget), []
    configs = next(walk)
    while True:
        asked += configs
        try:
            configs = walk.send([seconds(space.stage, config) for config in configs])
        except StopIteration as end:
            return end.value, asked


def test_a_descent_ends_at_the_best_of_axes_that_are_apart_and_asks_nothing_twice() -> None:
    space = space_of("large")
    best, asked = walked(space, stage_seconds)
    assert best == {"a": 4, "b": 2, "c": 8, "d": 1}
    assert len({space.point(config) for config in asked}) == len(asked) < len(space.configs) / 4


def test_an_axis_moved_early_is_moved_again_beside_what_came_after() -> None:
    def seconds(stage: str, config: Config) -> float:
        # small tiles are best of few warps alone, which the first pass comes to last
        few = config["warps"] == 1
        return int(config["tile"]) / 20 if few else 1024 / int(config["tile"])

    best, _ = walked(space_of("single"), seconds)
    assert (best["tile"], best["warps"]) == (16, 1)


def test_the_default_stays_where_nothing_is_faster_and_a_budget_is_kept() -> None:
    space = space_of("large")
    best, asked = walked(space, lambda stage, config: 1.0)
    assert best == space.default == asked[0]
    _, asked = walked(space, stage_seconds, budget=5)
    assert len(asked) == 5


def test_a_default_that_does_not_compile_is_left() -> None:
    def seconds(stage: str, config: Config) -> float:
        return float("inf") if config["warps"] == 4 else 1.0

    best, _ = walked(space_of("single"), seconds)
    assert best["warps"] == 1


def test_a_value_that_another_axis_forbids_comes_with_that_axis_put_back() -> None:
    space = space_of("single")
    tile, *_ = space.axes
    current: Config = {"tile": 32, "warps": 8, "form": "fancy"}
    near = list(neighbours(space, current, tile))
    assert [config["tile"] for config in near] == [16, 64, 128]
    assert [config["warps"] for config in near] == [8, 4, 8]
    assert not any(space.reasons(config) for config in near)


def test_a_search_finds_what_no_corner_is() -> None:
    model = FakeModel()
    corner, found = (
        {
            p.variant.plan: p
            for p in predict(PROBLEM, cast("CostModel", model), configs=configs).predictions
        }
        for configs in ("corners", "search")
    )
    for plan in ("single", "pair", "large"):
        assert found[plan].seconds < corner[plan].seconds
    assert found["single"].variant.config("single") == {"tile": 64, "warps": 2, "form": "fancy"}
    assert found["large"].seconds == pytest.approx(1e-3)


def test_a_search_keeps_its_budget_of_a_stage_under_each_interface() -> None:
    model = FakeModel()
    predict(PROBLEM, cast("CostModel", model), configs="search", budget=3)
    asked = [stage for stage, _ in model.compiled]
    assert asked.count("single") == asked.count("large") == 3
    assert asked.count("first") == asked.count("second") == 6


def test_a_stage_that_never_compiles_says_so() -> None:
    model = FakeModel(seconds=lambda stage, config: float("inf"))
    with pytest.raises(UnsupportedProblem, match="single does not compile"):
        predict(PROBLEM, cast("CostModel", model), configs="search")


def test_a_plan_that_cannot_be_predicted_is_left_out_with_the_reason() -> None:
    def seconds(stage: str, config: Config) -> float:
        return float("inf") if stage == "second" else 1.0

    ranking = predict(PROBLEM, cast("CostModel", FakeModel(seconds=seconds)), configs="default")
    assert {p.variant.plan for p in ranking.predictions} == {"single", "large"}
    assert set(ranking.left_out) == {"pair"}
    assert "second does not compile" in ranking.left_out["pair"]
