"""How the cost model is judged by what was measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from gdn_ops.codegen.variant import Variant
from gdn_ops.tuner.cli import run
from gdn_ops.tuner.cost.judgement import judge, spearman
from gdn_ops.tuner.store.models import utc_now
from gdn_ops.tuner.store.records import Outcome, Trial, TrialKey
from tests.json_documents import documented
from tests.results import Bench
from tests.tuner.cost.compiled import PROBLEM


def test_spearman_with_equal_values() -> None:
    assert spearman([1, 2, 3, 4], [10, 20, 30, 40]) == 1.0
    assert spearman([1, 2, 3, 4], [4, 3, 2, 1]) == -1.0
    assert spearman([1, 1, 2, 2], [1, 1, 2, 2]) == 1.0
    assert spearman([1, 1, 1, 1], [1, 2, 3, 4]) == 0.0


def trial(variant: Variant, seconds: float) -> Trial:
    stages = {name: dict(config) for name, config in variant.stages}
    key = TrialKey(
        target="cpu", arch="x", problem_id=PROBLEM.id(), scope="plan", plan=variant.plan,
        interface=dict(variant.interface), config=stages,
    )  # fmt: skip
    return Trial(
        id=1, run_id=1, environment_id=1, key=key, variant_id=variant.id,
        outcome=outcome(seconds), created=utc_now(),
    )  # fmt: skip


def outcome(seconds: float) -> Outcome:
    return Outcome(status="ok", median=seconds, low=seconds, high=seconds)


def test_a_judgement_names_correlation_and_regret() -> None:
    variants = [
        Variant.of("torch", PROBLEM, {}, {"torch_chunk": {"BT": BT}}) for BT in (16, 32, 64, 128)
    ]
    measured = dict(zip((v.id for v in variants), (4.0, 1.0, 2.0, 3.0), strict=True))
    trials = [trial(variant, measured[variant.id]) for variant in variants]
    facts = {PROBLEM.id(): PROBLEM.facts()}
    (right,) = judge(trials, facts, lambda problem, variant: 2 * measured[variant.id])
    assert (right.correlation, right.regret, right.ratio) == (1.0, 1.0, 2.0)
    (wrong,) = judge(trials, facts, lambda problem, variant: -measured[variant.id])
    assert (wrong.correlation, wrong.regret, wrong.variants) == (-1.0, 4.0, 4)
    (blind,) = judge(trials, facts, lambda problem, variant: 1.0)
    assert (blind.correlation, blind.regret) == (0.0, 2.5)  # a guess, in the mean
    assert judge(trials[:3], facts, lambda problem, variant: 1.0) == []


def test_bench_model_judges_every_stored_problem(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db = Bench(tmp_path / "rows.db")
    db.store.add_problem(PROBLEM.id(), PROBLEM.facts())
    for BT in (16, 32, 64, 128):
        variant = Variant.of("torch", PROBLEM, {}, {"torch_chunk": {"BT": BT, "AHEAD": 1}})
        db.record(trial(variant, BT * 1e-3).key, outcome(BT * 1e-3), variant=variant)
    db.store.database.close()
    command = ["bench", "--cost-model", "--db", str(tmp_path / "rows.db")]
    assert run([*command, "--json"]) == 0
    out, told = capsys.readouterr()
    (judgement,) = documented(out)["judgements"]
    assert judgement["variants"] == 4
    assert "4 variants of 1 problems: mean rank correlation" in told and PROBLEM.id() in told
    assert run(["bench", *command[2:]]) == 2  # a database without --model
    assert run(["bench", "--cost-model", "--db", str(tmp_path / "none.db")]) == 1
