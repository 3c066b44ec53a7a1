"""The predictions that ship: what results.db holds, and how it is made anew."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from bench import choices, predictions
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.targets import TARGETS, target_named
from gdn_ops.codegen.variant import Variant
from gdn_ops.dispatch.winner import Winner
from gdn_ops.dispatch.winners import read_winners
from gdn_ops.results_path import shipped_database
from gdn_ops.tuner.cost.many_targets import TargetPredictions
from gdn_ops.tuner.cost.prediction import Prediction, Ranking
from gdn_ops.tuner.spaces.problems import decode, prefill
from gdn_ops.tuner.workers.worker_pool import WorkerPool

LARGEST = 4_000_000
"""Bytes of the file, which every process reads at its first call."""
FIRST = ("a100", "b200", "h100", "h200", "rtx4090", "rtx5090")
"""GPUs that always have predictions."""


def predicted() -> list[Winner]:
    return [w for w in read_winners(shipped_database()).winners if w.provenance == "predicted"]


def test_the_shipped_file_is_small_and_has_the_common_gpus() -> None:
    assert shipped_database().stat().st_size < LARGEST
    assert set(FIRST) <= {winner.target for winner in predicted()}
    assert not any(w.skipped for w in [read_winners(shipped_database())])


def test_shipped_predictions_render_and_run_on_their_targets_today() -> None:
    rows = predicted()
    for winner in rows[:: len(rows) // 12]:
        assert not predictions.unusable(winner), (winner.target, winner.problem_id)


@pytest.mark.exhaustive
def test_every_shipped_prediction_renders_and_runs_on_its_target_today() -> None:
    for winner in predicted():
        assert not predictions.unusable(winner), (winner.target, winner.problem_id)


@pytest.mark.parametrize(
    "gpu",
    [
        pytest.param(gpu, marks=() if gpu in ("h200", "mi300x") else pytest.mark.exhaustive)
        for gpu in choices.GPUS
    ],
)
def test_no_gpu_runs_a_shipped_workload_on_plan_torch(gpu: str) -> None:
    found = choices.choices(gpu)
    for problem, choice in found.items():
        assert choice.variant.plan != "torch", (problem.id(), choice.refused)
    if gpu in FIRST:
        # some fp32 problems are not predicted, nor is what spills
        assert sum(choice.how == "predicted" for choice in found.values()) > 0.85 * len(found)


def prediction(problem: Problem, plan: str, seconds: float = 1e-4) -> Prediction:
    variant = Variant.default(plan, problem)
    return Prediction(problem=problem, variant=variant, seconds=seconds)


@pytest.fixture
def remade(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., list[Winner]]]:
    """Make a copy of the shipped file anew, with these predictions for an H200."""
    path, target = tmp_path / "results.db", target_named("h200")
    shutil.copy(shipped_database(), path)
    monkeypatch.setattr(predictions, "ORIGIN", tmp_path / "predictions.json")

    def remade(*found: Prediction, left_out: dict[Problem, str] | None = None) -> list[Winner]:
        def fake(*_: Any, **__: Any) -> Iterator[TargetPredictions]:
            rankings = {p.problem: Ranking(predictions=(p,)) for p in found}
            yield TargetPredictions(target=target, rankings=rankings, left_out=left_out or {})

        monkeypatch.setattr(predictions, "predict_targets", fake)
        draft = tmp_path / "draft.db"
        shutil.copy(path, draft)
        predictions.predict(path, draft, [target], cast(WorkerPool, None))
        return sorted(read_winners(path).winners, key=lambda w: (w.target, w.problem_id))

    yield remade


def test_making_predictions_anew_replaces_those_of_the_target_and_nothing_else(
    remade: Callable[..., list[Winner]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = read_winners(shipped_database()).winners
    fill, step = prefill(tokens=8192), decode(sequences=8)
    first = remade(prediction(fill, "split"), prediction(step, "recurrent"))
    assert "h200: 2 predicted, after" in capsys.readouterr().out
    assert {w.problem_id for w in first if w.target == "h200"} == {fill.id(), step.id()}
    others = [w for w in before if w.target != "h200"]
    kept = [w for w in first if w.target != "h200"]
    assert {(w.target, w.problem_id, w.created) for w in kept} == {
        (w.target, w.problem_id, w.created) for w in others
    }
    bytes_ = (tmp_path / "results.db").read_bytes()
    assert remade(prediction(fill, "split"), prediction(step, "recurrent")) == first
    assert "h200: 2 predicted, unchanged" in capsys.readouterr().out
    assert (tmp_path / "results.db").read_bytes() == bytes_
    (left,) = [w for w in remade(prediction(fill, "fused")) if w.target == "h200"]
    assert left.variant["plan"] == "fused"


def test_what_is_out_of_date_is_named(
    remade: Callable[..., list[Winner]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, h200 = tmp_path / "results.db", target_named("h200")
    fill, step = prefill(tokens=8192), decode(sequences=8)
    monkeypatch.setattr(predictions, "buckets", lambda problems: (fill, step))

    def faults(target: Target = h200) -> list[str]:
        return predictions.outdated(path, [target])

    remade(prediction(fill, "split"), left_out={step: "its registers spill"})
    assert faults() == []
    assert faults(target_named("mi300x")) == ["mi300x has no predictions"]
    with monkeypatch.context() as patch:
        patch.setattr(predictions, "source_hashes", lambda problem, variant: {"solve": "new"})
        assert faults() == ["h200 was predicted before the templates changed"]
    with monkeypatch.context() as patch:
        patch.setattr(predictions, "model_version", lambda arch: "newer")
        assert faults() == ["h200 was predicted by an older cost model"]
    with monkeypatch.context() as patch:
        patch.setitem(TARGETS, "h200", target_named("cpu"))
        (fault,) = faults()
        assert "has predictions that cannot run" in fault and "h200 is not a GPU" not in fault
    remade(prediction(fill, "split"))
    assert faults() == ["h200 was predicted for other problems than today's"]
