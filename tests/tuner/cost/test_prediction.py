"""Predictions: which plans have one, and calls that run on a predicted winner."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gdn_ops.codegen.errors import UnsupportedProblem
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.targets import target_named
from gdn_ops.codegen.variant import Variant
from gdn_ops.dispatch.choice import choose
from gdn_ops.dispatch.winner_table import WinnerTable
from gdn_ops.dispatch.winners import read_winners
from gdn_ops.tuner.cli import run
from gdn_ops.tuner.cost.prediction import predict
from tests.json_documents import documented
from tests.tuner.cost.compiled import BF16, H200, Compiled, resources


@pytest.mark.parametrize("heads", [(4, 8), (4, 4)])
@pytest.mark.parametrize("gate_in_kernel", [False, True])
def test_every_plan_of_kernels_is_predicted_for_gradients(
    heads: tuple[int, int], gate_in_kernel: bool
) -> None:
    H, HV = heads
    problem = replace(BF16, op="backward", H=H, HV=HV, gate_in_kernel=gate_in_kernel)
    ranking = predict(problem, Compiled(), configs="default")
    compiled = {
        name
        for name in PLANS
        if PLANS[name].verified
        and name != "torch"
        and not Variant.default(name, problem).reasons(problem, H200)
    }
    assert {"split", "fused", "segmented", "recurrent"} <= compiled
    assert {prediction.variant.plan for prediction in ranking.predictions} == compiled
    assert set(ranking.left_out) == {"fused_sm90", "segmented_sm90", "torch"}
    assert "torch_backward is plain PyTorch" in ranking.left_out["torch"]


def test_code_without_loops_is_not_predicted(monkeypatch: pytest.MonkeyPatch) -> None:
    unread = replace(resources(), loops=())
    monkeypatch.setattr("tests.tuner.cost.compiled.resources", lambda: unread)
    with pytest.raises(UnsupportedProblem, match="cannot read the loops of stage"):
        predict(BF16, Compiled(), configs="default")


def test_of_a_kernel_that_decides_by_its_tokens_one_path_is_counted() -> None:
    model = Compiled()
    problem = replace(BF16, K=128, V=128)
    config = Variant.default("fused_sm90", problem).config("gate_solve")
    assert config["merge_dot"] == "by_beta"
    mild = model.stage_seconds("fused_sm90", "gate_solve", problem, config)
    ((_, _, counted),) = model._resources
    assert "('merge_dot', 'fp16')" in counted
    fixed = {**config, "merge_dot": "fp16"}
    assert model.stage_seconds("fused_sm90", "gate_solve", problem, fixed) == mild


def test_predicted_winners_serve_a_gpu_until_one_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db, one = tmp_path / "predicted.db", ["--decode", "--H", "1", "--K", "64", "--sequences", "4"]
    command = ["predict", *one, "--target", "b200", "--db", str(db)]
    assert run([*command, "--json"]) == 0
    assert not db.exists()  # nothing is stored unasked
    (predicted,) = documented(capsys.readouterr().out)["predictions"]
    (only,) = predicted["variants"]
    assert 0 < only["low_seconds"] < only["predicted_seconds"] < only["high_seconds"]
    assert predicted["lead_probability"] is None
    assert run([*command, "--store"]) == 0
    out, err = capsys.readouterr()
    assert "recurrent" in out and "Stored 1 of 1" in out
    assert (
        "plan torch is not predicted for 1 of 1 problems: stage torch_decode is plain PyTorch"
        in err
    )
    table = WinnerTable(read_winners(db).winners)
    (winner,) = table.winners
    assert (winner.provenance, winner.target) == ("predicted", "b200")
    choice = choose(Problem.from_facts(winner.facts), target_named("b200"), table)
    assert (choice.how, choice.variant.plan) == ("predicted", "recurrent")
