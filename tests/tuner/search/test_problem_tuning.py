"""The tuning of a problem on recorded timings: plans, finals, winners, campaigns, resuming."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.errors import UnsupportedProblem
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.variant import Variant
from gdn_ops.tuner.campaign import Result, run_campaign
from gdn_ops.tuner.deadline import NO_DEADLINE, Deadline
from gdn_ops.tuner.interruption import Interrupted, Interruption
from gdn_ops.tuner.search import finals, problem_tuning
from gdn_ops.tuner.search.finished import finished_winners
from gdn_ops.tuner.search.problem_tuning import tune_problem
from gdn_ops.tuner.search.space_search import Options, search
from gdn_ops.tuner.search.standing_winner import is_finished, winner_without_finals
from gdn_ops.tuner.search.trial_runner import TrialRunner
from gdn_ops.tuner.search.verdict_cache import REPEATS_PASSED
from gdn_ops.tuner.spaces.space import Space, plans_for
from gdn_ops.tuner.workers.harness import Timing, Verdict
from tests.tuner.search.recorded import (
    CPU,
    PROBLEM,
    Bench,
    RecordedHarness,
    bench,
    stage_seconds,
    toy_plans,
)

ALL = Options(trials=100)


@pytest.fixture
def single() -> Iterator[Space]:
    with toy_plans("single"):
        yield plans_for(PROBLEM, CPU)["single"][0][0]


def test_a_plan_that_is_outclassed_is_not_searched(tmp_path: Path) -> None:
    def seconds(stage: str, config: Config) -> float:
        return stage_seconds(stage, config) * (20 if stage == "single" else 1)

    harness = RecordedHarness(seconds=seconds)
    with toy_plans("single", "pair"), bench(tmp_path / "r.db", harness) as b:
        winner = tune_problem(TrialRunner(b.context, PROBLEM), options=ALL, deadline=NO_DEADLINE)
        assert winner is not None and winner.variant["plan"] == "pair"
        assert sum(text.startswith("single") for text, _ in b.harness.measured) == 1


def test_a_plan_whose_cpp_does_not_compile_here_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(variant: Variant) -> list[str]:
        return ["no compiler"] if variant.plan == "single" else []

    monkeypatch.setattr(problem_tuning, "missing_compiler", missing)
    with toy_plans("single", "pair"), bench(tmp_path / "r.db", RecordedHarness()) as b:
        winner = tune_problem(TrialRunner(b.context, PROBLEM), options=ALL, deadline=NO_DEADLINE)
        assert winner is not None and winner.variant["plan"] == "pair"
        assert not any(text.startswith("single") for text, _ in b.harness.measured)
        assert "  left out: plan single: no compiler" in [getattr(e, "text", "") for e in b.events]
        with pytest.raises(UnsupportedProblem, match="plan single: no compiler"):
            tune_problem(
                TrialRunner(b.context, PROBLEM),
                options=Options(trials=100, plans=("single",)),
                deadline=NO_DEADLINE,
            )


def test_a_winner_has_reference_interval_provenance_and_proven_repeats(
    tmp_path: Path, single: Space
) -> None:
    with bench(tmp_path / "r.db", RecordedHarness()) as b:
        runner = TrialRunner(b.context, PROBLEM)
        assert not is_finished(runner)
        assert not finished_winners(runner.context, [runner.problem])
        winner = tune_problem(runner, options=ALL, deadline=NO_DEADLINE)
        assert winner is not None and winner.trial_id is not None
        assert winner.provenance == "measured"
        assert winner.reference == 1.0
        assert winner.low <= winner.median <= winner.high
        assert b.store.trial(winner.trial_id).outcome.resources[REPEATS_PASSED] == 30
        assert is_finished(runner)
        assert finished_winners(runner.context, [runner.problem], ["single"])
        with patch.dict(PLANS, {"single": replace(PLANS["single"], refusals=lambda *_: ["never"])}):
            assert not finished_winners(runner.context, [runner.problem], ["single"])


def test_a_winner_that_does_not_repeat_loses_to_the_next(tmp_path: Path, single: Space) -> None:
    best = str(single.variant({"tile": 64, "warps": 2, "form": "fancy"}))
    harness = RecordedHarness(unsteady=frozenset({best}))
    with bench(tmp_path / "r.db", harness) as b:
        winner = tune_problem(TrialRunner(b.context, PROBLEM), options=ALL, deadline=NO_DEADLINE)
        assert winner is not None
        assert winner.variant["stages"]["single"] == {"tile": 32, "warps": 2, "form": "fancy"}
        assert len(b.store.trials(status="nondeterministic")) == 1


def test_a_tie_goes_to_the_default_and_a_clear_win_does_not(single: Space) -> None:
    default, other = (single.variant(config) for config in single.configs[:2])
    noisy = tuple(1.0 + 0.05 * (i % 3) for i in range(9))
    slower = tuple(sample * 1.005 for sample in noisy[::-1])
    tie = [
        finals.Finalist(other, Timing(1.05, 1.0, 1.1, noisy)),
        finals.Finalist(default, Timing(1.055, 1.0, 1.1, slower)),
    ]
    assert finals.best_first(tie, {default.id})[0].variant == default
    clear = [
        finals.Finalist(other, Timing(1.0, 0.99, 1.01, (1.0,) * 9)),
        finals.Finalist(default, Timing(1.1, 1.09, 1.11, (1.1,) * 9)),
    ]
    assert finals.best_first(clear, {default.id})[0].variant == other


def test_a_tie_between_others_goes_to_what_spills_less(single: Space) -> None:
    one, two = (single.variant(config) for config in single.configs[1:3])
    samples = tuple(1.0 + 0.01 * (i % 3) for i in range(9))
    same = Timing(1.01, 1.0, 1.02, samples)
    pair = [finals.Finalist(one, same, (64, 0, 0)), finals.Finalist(two, same, (0, 0, 255))]
    assert finals.best_first(pair, set())[0].variant == two


def campaign(b: Bench, interruption: Interruption | None = None, **options: bool) -> Result:
    return run_campaign(
        [PROBLEM], b.context, options=Options(trials=100, **options),
        interruption=interruption or Interruption(), minutes=None,
    )  # fmt: skip


def test_an_interruption_leaves_the_best_so_far_and_the_next_run_finishes(
    tmp_path: Path, single: Space
) -> None:
    path, interruption = tmp_path / "r.db", Interruption()

    def interrupt(count: int) -> None:
        if count == 12:
            raise Interrupted

    with bench(path, RecordedHarness(before=interrupt)) as b:
        result = campaign(b, interruption)
        assert result.interrupted
        assert b.store.runs()[-1].status == "interrupted"
        best = min(trial.outcome.median or 9 for trial in b.store.trials())
        assert result.winners[PROBLEM.id()].median == best
        assert len(b.store.trials()) == 12
    with bench(path, RecordedHarness()) as b:
        result = campaign(b)
        searched = [text for text, _ in b.harness.measured[: -finals.FINALISTS - 2]]
        assert len(searched) <= len(single.configs) - 12
        assert not result.interrupted
        assert b.store.runs()[-1].status == "finished"
        assert result.winners[PROBLEM.id()].median == pytest.approx(0.8e-3)


def test_a_finished_problem_is_skipped_unless_again(tmp_path: Path, single: Space) -> None:
    path = tmp_path / "r.db"
    with bench(path, RecordedHarness()) as b:
        first = campaign(b).winners[PROBLEM.id()]
    with bench(path, RecordedHarness()) as b:
        assert campaign(b).winners[PROBLEM.id()] == first
        assert b.harness.measured == []
        assert campaign(b, again=True).winners[PROBLEM.id()].variant_id == first.variant_id
        assert len(b.harness.measured) > 0


def test_a_problem_without_a_right_variant_is_a_failure_and_says_so(
    tmp_path: Path, single: Space
) -> None:
    class Wrong(RecordedHarness):
        def verify(self, problem: object, variant: Variant, *, repeats: int) -> Verdict:
            return Verdict(status="wrong", message="o is off")

    with bench(tmp_path / "r.db", Wrong()) as b:
        result = campaign(b)
        assert result.winners == {}
        assert "no variant is correct and timed" in result.failures[PROBLEM.id()]


def test_the_standing_winner_is_in_the_finals_of_the_next_run(
    tmp_path: Path, single: Space
) -> None:
    path = tmp_path / "r.db"
    with bench(path, RecordedHarness()) as b:
        campaign(b)
    with bench(path, RecordedHarness(seconds=lambda stage, config: 2e-3)) as b:
        campaign(b, again=True)
        best = str(single.variant({"tile": 64, "warps": 2, "form": "fancy"}))
        assert best in [text for text, _ in b.harness.measured]


def test_a_proof_holds_for_every_size_but_each_size_has_its_own_finals(
    tmp_path: Path, single: Space
) -> None:
    other = PROBLEM.__class__.from_facts({**PROBLEM.facts(), "tokens": 128})
    with bench(tmp_path / "r.db", RecordedHarness()) as b:
        runner = TrialRunner(b.context, PROBLEM)
        first = tune_problem(runner, options=ALL, deadline=NO_DEADLINE)
        count = len(b.harness.verified)
        runner = TrialRunner(b.context, other)
        (space,) = plans_for(other, CPU)["single"][0]
        search(space, runner, options=ALL, deadline=NO_DEADLINE)
        assert winner_without_finals(runner) is not None
        assert not is_finished(runner), "right and measured, but not in finals"
        assert not finished_winners(runner.context, [runner.problem])
        second = tune_problem(runner, options=ALL, deadline=NO_DEADLINE)
        assert is_finished(runner)
        assert finished_winners(runner.context, [runner.problem])
        assert first is not None and second is not None
        assert first.variant_id == second.variant_id
        assert len(b.harness.verified) == count


def test_when_time_is_up_the_best_trial_is_kept_and_the_next_run_goes_on(
    tmp_path: Path, single: Space
) -> None:
    with bench(tmp_path / "r.db", RecordedHarness()) as b:
        runner = TrialRunner(b.context, PROBLEM)
        winner = tune_problem(runner, options=ALL, deadline=Deadline.after(-1))
        assert winner is not None and len(b.store.trials()) == 1
        assert not is_finished(runner)
        assert not finished_winners(runner.context, [runner.problem])
        winner = tune_problem(runner, options=ALL, deadline=NO_DEADLINE)
        assert winner is not None and winner.median == pytest.approx(0.8e-3)
        assert is_finished(runner)
        assert finished_winners(runner.context, [runner.problem])
