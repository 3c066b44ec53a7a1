"""What a later run takes over: outcomes of the same source, and no winner that failed its proof."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.variant import Variant
from gdn_ops.tuner.deadline import NO_DEADLINE
from gdn_ops.tuner.search import finals
from gdn_ops.tuner.search.finished import finished_winners
from gdn_ops.tuner.search.problem_tuning import tune_problem
from gdn_ops.tuner.search.space_search import Options, search
from gdn_ops.tuner.search.standing_winner import is_finished, standing_winner, winner_without_finals
from gdn_ops.tuner.search.trial_runner import TrialRunner
from gdn_ops.tuner.spaces.space import Space, plans_for
from gdn_ops.tuner.workers.harness import Verdict
from tests.tuner.search.recorded import (
    CPU,
    PROBLEM,
    TOY_TEMPLATE,
    WARPS,
    Bench,
    RecordedHarness,
    bench,
    stage_seconds,
    toy_plans,
    toy_templates,
)

ALL = Options(trials=100)
BEST = {"tile": 64, "warps": 2, "form": "fancy"}


@pytest.fixture
def single() -> Iterator[Space]:
    with toy_plans("single"):
        yield plans_for(PROBLEM, CPU)["single"][0][0]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "r.db"


def edited(*stages: str) -> dict[str, str]:
    """Templates of which those of some stages were edited."""
    return {f"torch/{stage}.py.jinja": f"edited {TOY_TEMPLATE}" for stage in stages}


def tuned(path: Path, templates: dict[str, str] | None = None, **harness: object) -> Bench:
    """A run to its end, on templates of which some may be edited."""
    with (
        toy_templates(lambda name: (templates or {}).get(name, TOY_TEMPLATE)),
        bench(path, RecordedHarness(**harness)) as b,  # type: ignore[arg-type]
    ):
        tune_problem(TrialRunner(b.context, PROBLEM), options=ALL, deadline=NO_DEADLINE)
        return b


def counts(b: Bench) -> Counter[str | None]:
    return Counter(stage for _, stage in b.harness.measured)


def test_another_template_leaves_what_is_known(path: Path, single: Space) -> None:
    tuned(path)
    templates = edited("another stage")
    with (
        toy_templates(lambda name: templates.get(name, TOY_TEMPLATE)),
        bench(path, RecordedHarness()) as b,
    ):
        assert is_finished(TrialRunner(b.context, PROBLEM))
        assert list(finished_winners(b.context, [PROBLEM])) == [PROBLEM.id()]


@pytest.mark.parametrize("strategy", ["enumeration", "model"])
def test_configs_whose_source_was_edited_are_tried_again_and_the_others_not(
    strategy: str, path: Path, single: Space
) -> None:
    fancy = "{{ NAME }} with {{ LABEL }}{% if form == 'fancy' %}, edited{% endif %}"
    options = replace(ALL, strategy=strategy)
    for template, tried in ((TOY_TEMPLATE, 30), (fancy, 15), (fancy, 0), (TOY_TEMPLATE, 0)):
        with toy_templates(lambda name, text=template: text), bench(path, RecordedHarness()) as b:
            search(single, TrialRunner(b.context, PROBLEM), options=options, deadline=NO_DEADLINE)
            assert len(b.harness.measured) == tried
            assert len(b.harness.verified) == tried, "nor does a verdict outlive its source"


def test_an_edited_stage_is_tuned_again_and_its_neighbour_not(path: Path) -> None:
    with toy_plans("pair"):
        assert counts(tuned(path))["first"] == 8
        again = tuned(path, edited("first"))
        assert counts(again)["first"] == 8
        assert counts(again)["second"] == 0
        assert counts(again)[None] > 0, "variants are timed end to end again"


def test_a_winner_of_another_source_does_not_stand(path: Path, single: Space) -> None:
    tuned(path)
    with toy_templates(edited("single").__getitem__), bench(path, RecordedHarness()) as b:
        runner = TrialRunner(b.context, PROBLEM)
        assert standing_winner(runner) is None
        assert not is_finished(runner)
        assert not finished_winners(b.context, [PROBLEM])
        assert runner.reference == 1.0, "the reference has no template"
        assert winner_without_finals(runner) is None, "nor does any trial"
        assert len(b.store.winners()) == 1, "it is dispatched to until a better one is known"


def test_what_does_not_render_is_told_to_the_worker_and_tried_in_each_run(
    path: Path, single: Space
) -> None:
    refused = Verdict(status="invalid", message="single.py.jinja did not render")
    harness = RecordedHarness(verdicts={str(single.variant(c)): refused for c in single.configs})
    for _ in range(2):
        with toy_templates(lambda name: "{{ nothing.of_the_kind }}"), bench(path, harness) as b:
            search(single, TrialRunner(b.context, PROBLEM), options=ALL, deadline=NO_DEADLINE)
    assert len(b.store.trials(status="invalid")) == 2 * len(single.configs)


def test_launch_axes_are_rendered_once(path: Path, single: Space) -> None:
    asked = []
    launch = replace(KERNELS["single"].axes[1], launch=True)
    assert launch.name == WARPS.name
    spec = KERNELS["single"]
    KERNELS["single"] = replace(spec, axes=(spec.axes[0], launch, spec.axes[2]))

    def source(name: str) -> str:
        asked.append(name)
        return TOY_TEMPLATE

    with toy_templates(source), bench(path, RecordedHarness()) as b:
        runner = TrialRunner(b.context, PROBLEM)
        trials = [
            runner.run(single, {"tile": 16, "warps": warps, "form": "plain"}, best=None)
            for warps in (1, 2, 4)
        ]
    assert len({str(trial.sources) for trial in trials}) == 1
    assert len(b.harness.measured) == 3, "which say nothing of each other"


def test_a_provisional_winner_that_fails_its_proof_gives_way(path: Path, single: Space) -> None:
    """No finalist passes, so the best of the others is kept, and no finals are claimed."""
    finalists = sorted(single.configs, key=lambda c: stage_seconds("single", c))[:4]
    texts = {str(single.variant(c)) for c in [*finalists, single.default]}
    tuned(path, unsteady=frozenset(texts))
    with bench(path, RecordedHarness()) as b:
        runner = TrialRunner(b.context, PROBLEM)
        (winner,) = b.store.winners()
        assert str(Variant.from_json(winner.variant, PROBLEM)) not in texts
        assert standing_winner(runner) == winner
        assert not is_finished(runner)


def test_no_winner_stays_when_every_variant_fails_its_proof(path: Path, single: Space) -> None:
    texts = frozenset(str(single.variant(c)) for c in single.configs)
    harness = RecordedHarness(unsteady=texts)
    with bench(path, harness) as b:
        best = single.variant(BEST)
        runner = TrialRunner(b.context, PROBLEM)
        runner.run_variant(best, label="the only one")
        assert winner_without_finals(runner) is not None
        assert finals.hold_finals(runner, [best], deadline=NO_DEADLINE) is None
        assert b.store.winners() == []
        assert len(b.store.winners(history=True)) == 1


def test_a_stored_winner_of_axes_that_are_gone_is_passed_over(path: Path, single: Space) -> None:
    tuned(path)
    fewer = replace(KERNELS["single"].axes[0], values=(16, 32))
    spec = KERNELS["single"]
    KERNELS["single"] = replace(spec, axes=(fewer, *spec.axes[1:]))
    with bench(path, RecordedHarness()) as b:
        winner = tune_problem(TrialRunner(b.context, PROBLEM), options=ALL, deadline=NO_DEADLINE)
        assert winner is not None
        assert winner.variant["stages"]["single"] == {**BEST, "tile": 32}


def test_the_references_time_survives_a_kill_after_the_first_trial(
    path: Path, single: Space
) -> None:
    with bench(path, RecordedHarness()) as b:
        TrialRunner(b.context, PROBLEM).run(single, BEST, best=None)
    with bench(path, RecordedHarness()) as b:
        runner = TrialRunner(b.context, PROBLEM)
        winner = winner_without_finals(runner)
        assert winner is not None and winner.reference == 1.0
        assert b.harness.measured == []
        runner.run(single, single.default, best=None)
        assert [effort.reference for effort in b.harness.efforts] == [False]


def test_a_fault_of_the_environment_is_tried_again_in_the_next_run(
    path: Path, single: Space
) -> None:
    best = str(single.variant(BEST))
    for failures in ({best: "fault"}, {}):
        with bench(path, RecordedHarness(failures=failures)) as b:
            found = search(
                single, TrialRunner(b.context, PROBLEM), options=ALL, deadline=NO_DEADLINE
            )
            assert found is not None
    assert found.config == BEST
    assert [text for text, _ in b.harness.measured] == [best]
    assert [t.outcome.status for t in b.store.trials(status="fault")] == ["fault"]
