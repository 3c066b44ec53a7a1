"""Readiness: what does not compile costs no time of a GPU, and its neighbours find another way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gdn_ops.codegen.axis import Config
from gdn_ops.tuner.deadline import NO_DEADLINE
from gdn_ops.tuner.report.progress import Note
from gdn_ops.tuner.search.problem_tuning import tune_problem
from gdn_ops.tuner.search.readiness import Readiness
from gdn_ops.tuner.search.space_search import Options
from gdn_ops.tuner.search.trial_runner import TrialRunner
from gdn_ops.tuner.spaces.space import StageSpaces, plans_for
from gdn_ops.tuner.workers.harness import Verdict
from tests.tuner.search.recorded import CPU, PROBLEM, RecordedHarness, bench, toy_plans

TOO_LARGE = Verdict(status="invalid", message="shared memory")


@pytest.fixture
def pair() -> Iterator[list[StageSpaces]]:
    with toy_plans("pair"):
        yield plans_for(PROBLEM, CPU)["pair"]


def failing(interfaces: list[StageSpaces], BT: int, *tiles: int) -> dict[str, Verdict]:
    """Verdicts by which these tiles of stage ``first`` do not compile in chunks of BT."""
    return {
        str({**dict(spaces[0].interface), "tile": tile}): TOO_LARGE
        for spaces in interfaces
        for tile in tiles
        if dict(spaces[0].interface)["BT"] == BT
    }


def config(interface: StageSpaces, stage: str) -> Config:
    second = interface[-1]
    return dict(dict(second.variant(second.initial_config).stages)[stage])


def test_stages_are_compiled_side_by_side_and_each_once(
    tmp_path: Path, pair: list[StageSpaces]
) -> None:
    with bench(tmp_path / "r.db", RecordedHarness()) as b:
        readiness = Readiness(TrialRunner(b.context, PROBLEM))
        readiness.compile(pair)
        assert b.harness.compiled == [6], "stage first reads BT alone"
        assert [readiness.ready(spaces) for spaces in pair] == pair
        assert b.harness.compiled == [6]


def test_what_a_stage_cannot_begin_with_is_replaced_by_the_nearest_that_compiles(
    tmp_path: Path, pair: list[StageSpaces]
) -> None:
    harness = RecordedHarness(compilations=failing(pair, 16, 32, 16))
    with bench(tmp_path / "r.db", harness) as b:
        usable = Readiness(TrialRunner(b.context, PROBLEM)).ready(pair[0])
        assert usable is not None
        assert usable[0].initial_config == {"tile": 64}
        assert config(usable, "first") == {"tile": 64}, "also around the other stage"
        assert config(pair[0], "first") == {"tile": 32}


def test_an_interface_of_which_a_stage_does_not_compile_is_never_run(
    tmp_path: Path, pair: list[StageSpaces]
) -> None:
    harness = RecordedHarness(compilations=failing(pair, 32, 16, 32, 64, 128))
    with bench(tmp_path / "r.db", harness) as b:
        runner = TrialRunner(b.context, PROBLEM)
        winner = tune_problem(runner, options=Options(trials=100), deadline=NO_DEADLINE)
        assert winner is not None and winner.variant["interface"]["BT"] == 16
        assert not [text for text, _ in harness.measured if "BT=32" in text]
        assert not [text for text in harness.verified if "BT=32" in text]
        (note,) = [e.text for e in b.events if isinstance(e, Note)]
        assert "first BT=32 is skipped" in note and "shared memory" in note
