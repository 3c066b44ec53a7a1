"""Batches of a search: more compiled than timed, compiled ahead, and nothing lost by it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import event

from gdn_ops.tuner.deadline import NO_DEADLINE
from gdn_ops.tuner.report.progress import TrialEnded
from gdn_ops.tuner.search.space_search import Options, search
from gdn_ops.tuner.search.trial_runner import TrialRunner
from gdn_ops.tuner.spaces.space import Space, plans_for
from gdn_ops.tuner.workers.harness import Verdict
from tests.tuner.search.recorded import (
    CPU,
    PROBLEM,
    RecordedHarness,
    bench,
    stage_seconds,
    toy_plans,
)


@pytest.fixture
def large() -> Iterator[Space]:
    with toy_plans("large"):
        yield plans_for(PROBLEM, CPU)["large"][0][0]


def ranked_by_spills(space: Space) -> dict[str, Verdict]:
    """Verdicts that rank configs by their times, in what the ranking looks at: bytes spilled."""
    return {
        str(dict(c)): Verdict(
            status="ok", resources={"stack": int(1e7 * stage_seconds("large", c))}
        )
        for c in space.configs
    }  # fmt: skip


@pytest.mark.parametrize("strategy", ["model", "enumeration"])
def test_the_most_promising_quarter_of_a_batch_is_timed(
    tmp_path: Path, large: Space, strategy: str
) -> None:
    harness = RecordedHarness(compilations=ranked_by_spills(large))
    options = Options(trials=12, width=16, compiled_per_timed=4, strategy=strategy)
    with bench(tmp_path / "r.db", harness) as b:
        found = search(
            large, TrialRunner(b.context, PROBLEM), options=options, deadline=NO_DEADLINE
        )
    assert harness.compiled == [16, 16, 16]
    assert len(harness.measured) == 12
    ranks = sorted(stage_seconds("large", c) for c in large.configs)
    assert found is not None and ranks.index(found.seconds) < 20, "12 random ones reach about 20"


def test_what_a_search_begins_with_is_timed_whatever_the_model_says(
    tmp_path: Path, large: Space
) -> None:
    forbidding = {str(dict(large.initial_config)): Verdict(status="ok", resources={"stack": 10**9})}
    harness = RecordedHarness(compilations={**ranked_by_spills(large), **forbidding})
    with bench(tmp_path / "r.db", harness) as b:
        options = Options(trials=2, width=8, compiled_per_timed=4)
        search(large, TrialRunner(b.context, PROBLEM), options=options, deadline=NO_DEADLINE)
    assert str(large.variant(large.initial_config)) in [text for text, _ in harness.measured]


def test_one_in_four_is_the_strategys_own_choice(tmp_path: Path, large: Space) -> None:
    harness = RecordedHarness(compilations=ranked_by_spills(large))
    with bench(tmp_path / "r.db", harness) as b:
        options = Options(trials=4, width=16, compiled_per_timed=4, strategy="enumeration")
        search(large, TrialRunner(b.context, PROBLEM), options=options, deadline=NO_DEADLINE)
    assert harness.compiled == [16]
    assert len({text for text, _ in harness.measured}) == 4


def test_a_batch_compiles_while_the_one_before_it_is_timed(tmp_path: Path, large: Space) -> None:
    harness = RecordedHarness()
    seen: list[tuple[int, int]] = []
    harness.before = lambda count: seen.append((count, len(harness.compiled)))
    with bench(tmp_path / "r.db", harness) as b:
        options = Options(trials=6, width=8, compiled_per_timed=4, strategy="enumeration")
        search(large, TrialRunner(b.context, PROBLEM), options=options, deadline=NO_DEADLINE)
    assert seen == [(0, 2), (1, 2), (2, 3), (3, 3), (4, 3), (5, 3)]


@pytest.mark.parametrize("strategy", ["model", "enumeration"])
def test_what_was_left_out_is_timed_when_nothing_new_is_left(
    tmp_path: Path, large: Space, strategy: str
) -> None:
    harness = RecordedHarness()
    with bench(tmp_path / "r.db", harness) as b:
        options = Options(trials=200, width=32, compiled_per_timed=4, strategy=strategy)
        search(large, TrialRunner(b.context, PROBLEM), options=options, deadline=NO_DEADLINE)
    assert len(large.configs) == 256
    assert len({text for text, _ in harness.measured}) == len(harness.measured) == 200


def test_a_space_that_the_trials_cover_is_timed_whole(tmp_path: Path, large: Space) -> None:
    harness = RecordedHarness()
    with bench(tmp_path / "r.db", harness) as b:
        options = Options(trials=256, width=32, compiled_per_timed=4)
        search(large, TrialRunner(b.context, PROBLEM), options=options, deadline=NO_DEADLINE)
    assert len({text for text, _ in harness.measured}) == 256
    assert harness.compiled == [32] * 8


def test_configs_that_do_not_compile_are_stored_together(tmp_path: Path, large: Space) -> None:
    broken = Verdict(status="compile-error", message="recorded")
    verdicts = {str(dict(c)): broken for c in large.configs if c["a"] != 1}
    harness = RecordedHarness(compilations=verdicts)
    with bench(tmp_path / "r.db", harness) as b:
        commits: list[object] = []
        event.listen(b.database.engine, "commit", commits.append)
        options = Options(trials=32, width=16, strategy="enumeration")
        search(large, TrialRunner(b.context, PROBLEM), options=options, deadline=NO_DEADLINE)
        stored = b.store.trials()
        timed = sum(trial.outcome.status == "ok" for trial in stored)
        reported = [e.trial.id for e in b.events if isinstance(e, TrialEnded) and e.fresh]
    assert len(stored) == 32 and sorted(reported) == [trial.id for trial in stored]
    assert len(harness.measured) == timed < 16
    assert len(commits) <= timed + 2 + 2, "one for each that was timed, one for each batch"
