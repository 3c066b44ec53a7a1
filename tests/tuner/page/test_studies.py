"""``gdn report --optuna``: Optuna loads the studies, with every trial and its true values."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest

from gdn_ops.tuner.cli import run
from gdn_ops.tuner.page.optuna_studies import _distribution
from tests.json_documents import documented
from tests.results import HANG, OK, Bench, stage_key


def test_optuna_loads_the_trials(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench = Bench(tmp_path / "r.db")
    bench.record(stage_key(BV=32, num_warps=4, dot="ieee"), OK)
    bench.record(stage_key(BV=128, num_warps=8, dot="tf32"), HANG)
    path = tmp_path / "study.db"
    command = ["report", "--db", str(bench.close()), "--optuna", str(path), "--json"]
    assert run(command) == 0
    (name,) = documented(capsys.readouterr().out)["studies"]
    study = optuna.load_study(study_name=name, storage=f"sqlite:///{path}")
    done, failed = study.trials
    axes = {"BT": 64, "gated_A": True}
    assert (done.value, done.params) == (2e-3, axes | {"BV": 32, "num_warps": 4, "dot": "ieee"})
    assert failed.state == optuna.trial.TrialState.FAIL and failed.params["BV"] == 128
    assert failed.user_attrs["status"] == "timeout" and "60 s" in failed.user_attrs["message"]
    assert study.best_trial.number == done.number and study.user_attrs["stage"] == "chunk_o"
    assert study.user_attrs["value"] == "seconds"
    assert run(command) == 2, "a file that exists is not touched"


def test_values_of_two_kinds_are_categories() -> None:
    texts = optuna.distributions.CategoricalDistribution
    assert _distribution([16, "auto", 2]) == texts(["16", "2", "auto"])
    assert _distribution([True]) == texts([False, True])
    assert _distribution([1, 0]) == optuna.distributions.IntDistribution(0, 1)
    assert _distribution([2**70]) == texts([str(2**70)])
