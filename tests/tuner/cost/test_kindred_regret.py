"""What a CPU loses by the winner of another kind of CPU."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from gdn_ops.tuner.cost.kindred_regret import cpu_kinds, kindred_regrets
from gdn_ops.tuner.store.records import Outcome, Trial, TrialKey


def trial(target: str, variant: str, seconds: float, scope: str = "plan") -> Trial:
    key = TrialKey(
        target=target, arch="x", problem_id="p", scope=scope, plan="torch",
        stage="torch_chunk" if scope == "stage" else None,
    )  # fmt: skip
    outcome = Outcome(status="ok", median=seconds, low=seconds, high=seconds)
    return Trial(
        id=1, run_id=1, environment_id=1, key=key, variant_id=variant, outcome=outcome,
        created=datetime.now(timezone.utc),
    )  # fmt: skip


def test_the_regret_is_the_time_of_the_other_kinds_winner_over_the_best() -> None:
    trials = [
        trial("cpu-a", "fast", 1.0), trial("cpu-a", "slow", 3.0), trial("cpu-a", "slow", 2.0),
        trial("cpu-a", "stage", 0.1, "stage"), trial("h100", "slow", 0.1),
        trial("cpu-b", "fast", 5.0), trial("cpu-b", "slow", 4.0),
    ]  # fmt: skip
    assert cpu_kinds(trials) == ["cpu-a", "cpu-b"]
    on_a, on_b = kindred_regrets(trials)
    assert (on_a.target, on_a.kindred, on_a.ratio) == ("cpu-a", "cpu-b", 2.0)
    assert (on_b.target, on_b.kindred) == ("cpu-b", "cpu-a")
    assert on_b.ratio == pytest.approx(5 / 4)


def test_one_kind_of_cpu_has_no_regret() -> None:
    assert kindred_regrets([trial("cpu-a", "fast", 1.0), trial("cpu-a", "slow", 2.0)]) == []
