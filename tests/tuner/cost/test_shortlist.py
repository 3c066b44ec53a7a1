"""Shortlists: what is compiled for many problems, and what is never chosen unseen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import pytest

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.errors import CompileError, InvalidInput, UnsupportedProblem
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.targets import TARGETS, target_named
from gdn_ops.tuner.cost.many_targets import predict_targets, predicted_targets, refusal
from gdn_ops.tuner.cost.model import CostModel
from gdn_ops.tuner.cost.prediction import Ranking
from gdn_ops.tuner.cost.shortlist import Shortlist, compiled_ranking, predict_shortlist
from gdn_ops.tuner.spaces.problems import prefill
from gdn_ops.tuner.workers.worker_pool import WorkerPool

H100, A100 = target_named("h100"), target_named("a100")
SHORT, LONG, OTHER = prefill(tokens=1024), prefill(tokens=8192), prefill(tokens=1024, H=4, HV=8)
SECONDS = {"solve": 2.0, "scan": 3.0, "fused1": 50.0, "recurrent": 400.0}
"""Seconds of a stage with its default config; 10 for the others."""


def usual(stage: str, config: Config) -> float:
    """Only one warp makes ``solve`` faster, and by a third; anything else is nearly as fast."""
    seconds = SECONDS.get(stage, 10.0)
    default = {**KERNELS[stage].default(SHORT), "num_stages": config["num_stages"]}
    changed = any(config[name] != value for name, value in default.items())
    if stage == "solve" and config["num_warps"] == 1:
        return seconds * 2 / 3
    return seconds * (0.98 if changed else 1.0)


@dataclass
class FakeModel:
    """A cost model with seconds from a formula; infinite ones do not compile or spill."""

    seconds: Callable[[str, Config], float] = usual
    target: Target = H100
    asked: list[tuple[str, Problem, Config]] = field(default_factory=list)

    def compile(self, work: list[tuple[str, str, Problem, Config]]) -> None:
        self.asked += [(stage, problem, config) for _, stage, problem, config in work]

    def stage_seconds(self, plan: str, stage: str, problem: Problem, config: Config) -> float:
        if not KERNELS[stage].compiled:
            raise UnsupportedProblem(f"{stage} is plain PyTorch")
        seconds = self.seconds(stage, config)
        if seconds == float("inf"):
            raise CompileError(f"{stage}: registers spill")
        return seconds

    def configs(self, stage: str, problem: Problem) -> set[str]:
        return {repr(config) for name, of, config in self.asked if (name, of) == (stage, problem)}


def predicted(problem: Problem, model: FakeModel, shortlist: Shortlist | None = None) -> Ranking:
    lead = cast(CostModel, FakeModel(model.seconds))
    return predict_shortlist(problem, cast(CostModel, model), shortlist or Shortlist(lead))


def test_a_stage_is_searched_where_it_is_first_met_and_nowhere_else() -> None:
    lead, model = FakeModel(), FakeModel(target=A100)
    shortlist = Shortlist(cast(CostModel, lead))
    first = predicted(SHORT, model, shortlist).predictions[0]
    assert (first.variant.plan, first.variant.config("solve")["num_warps"]) == ("fused", 1)
    assert len(lead.configs("solve", SHORT)) > 4
    assert len(model.configs("solve", SHORT)) == 4, "the default of three plans, and one more"
    again = predicted(OTHER, model, shortlist).predictions[0]
    assert again.variant.config("solve")["num_warps"] == 1
    assert not lead.configs("solve", OTHER)
    assert not {stage for stage, _, _ in lead.asked} & {"chunk_h", "fused1"}, "plans far behind"
    # gains within the model's error are none
    assert first.variant.config("scan") == {
        **KERNELS["scan"].default(SHORT),
        **dict(first.variant.interface),
    }


def test_sizes_of_a_searched_problem_are_searched_too_because_its_code_is_known() -> None:
    lead = FakeModel()
    shortlist = Shortlist(cast(CostModel, lead))
    predicted(SHORT, FakeModel(), shortlist)
    predicted(LONG, FakeModel(), shortlist)
    assert lead.configs("solve", LONG) == lead.configs("solve", SHORT)


def test_a_hopeless_plan_is_compiled_once_per_kind_of_problem() -> None:
    model = FakeModel()
    shortlist = Shortlist(cast(CostModel, FakeModel()))
    predicted(SHORT, model, shortlist)
    ranking = predicted(OTHER, model, shortlist)
    assert model.configs("recurrent", SHORT) and not model.configs("recurrent", OTHER)
    assert "times as long as the best" in ranking.left_out["recurrent"]
    assert "recurrent" not in {p.variant.plan for p in ranking.predictions}


def test_no_precision_or_small_tile_is_chosen_unseen() -> None:
    def wild(stage: str, config: Config) -> float:
        """The lower the precision, the smaller the tile and the more stages the faster."""
        fast = [config.get(a) in ("tf32", "fp16") for a in ("dot", "merge_dot")]
        small = sum(float(config.get(name, 0)) for name in ("BK", "BV"))
        return 1e6 * (0.1 ** sum(fast)) + small - 100 * float(config["num_stages"])

    best = predicted(SHORT, FakeModel(wild)).predictions[0].variant
    for stage, pairs in best.stages:
        config, default = dict(pairs), KERNELS[stage].default(SHORT)
        assert config.get("dot") == default.get("dot"), stage
        assert config.get("merge_dot") in (default.get("merge_dot"), "tf32x3", "bf16x6"), stage
        assert config["num_stages"] == default["num_stages"], stage
        if KERNELS[stage].precisions:
            for name in ("BK", "BV"):
                assert float(config.get(name, 0)) >= float(default.get(name, 0)), stage


def test_what_spills_is_not_predicted_and_another_config_may_not_spill() -> None:
    def spilling(stage: str, config: Config) -> float:
        return float("inf") if config.get("num_warps") != 8 else usual(stage, config)

    ranking = predicted(SHORT, FakeModel(spilling))
    plans = {p.variant.plan for p in ranking.predictions}
    assert "fused" in plans and "torch" not in plans
    assert "plain PyTorch" in ranking.left_out["torch"]
    warps = {dict(config)["num_warps"] for _, config in ranking.predictions[0].variant.stages}
    assert warps == {8}

    def never(stage: str, config: Config) -> float:
        return float("inf")

    with pytest.raises(UnsupportedProblem, match=r"plan fused: \w+: registers spill"):
        predicted(SHORT, FakeModel(never))


def test_on_another_architecture_what_cannot_run_gives_way_to_the_default() -> None:
    shortlist = Shortlist(cast(CostModel, FakeModel()))
    ranking = predicted(SHORT, FakeModel(target=A100), shortlist)
    assert ranking.predictions[0].variant.config("solve")["num_warps"] == 1

    def spilling(stage: str, config: Config) -> float:
        one = stage == "solve" and config["num_warps"] == 1
        return float("inf") if one else 2 * usual(stage, config)

    own = FakeModel(spilling, target=A100)
    best = compiled_ranking(ranking, cast(CostModel, own), shortlist).predictions[0]
    assert (best.variant.plan, best.variant.config("solve")["num_warps"]) == ("fused", 2)
    assert best.seconds == 2 * (SECONDS["solve"] + SECONDS["scan"] + 10.0)
    assert len(own.configs("solve", SHORT)) == 2 and not own.configs("recurrent", SHORT)

    def slow(stage: str, config: Config) -> float:
        return 1.0 if stage == "recurrent" else float("inf")

    with pytest.raises(UnsupportedProblem, match=r"plan fused: .*: registers spill"):
        compiled_ranking(ranking, cast(CostModel, FakeModel(slow, target=A100)), shortlist)


def test_every_nvidia_gpu_can_be_predicted_and_no_other_target() -> None:
    names = {target.name for target in predicted_targets()}
    assert names == {t.name for t in TARGETS.values() if t.vendor == "nvidia"}
    with pytest.raises(InvalidInput, match="mi300x is not predicted: the cost model counts NVIDIA"):
        next(predict_targets([SHORT], [target_named("mi300x")], cast(WorkerPool, None)))
    assert "is not a GPU" in refusal(target_named("cpu"))
