"""Replays: what is counted, who wins on a space that a model can learn, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gdn_ops.tuner.cli import run
from gdn_ops.tuner.replay import kernel_tuner_cache
from gdn_ops.tuner.replay.recorded_space import RecordedSpace
from gdn_ops.tuner.replay.replay import CHECKPOINTS, fractions, score, winners_elsewhere
from gdn_ops.tuner.replay.table import ALL, Entry, with_means
from gdn_ops.tuner.strategies import StrategySetup, make_strategy
from tests.json_documents import documented
from tests.tuner.replay.recorded_file import kernel_tuner, t4


@pytest.fixture(scope="module")
def space() -> RecordedSpace:
    return kernel_tuner_cache.space("toy", kernel_tuner())


@pytest.mark.parametrize("name", ["enumeration", "model"])
def test_a_strategy_gets_nearer_and_the_whole_space_is_the_optimum(
    name: str, space: RecordedSpace
) -> None:
    reached = fractions(name, space, seed=1)
    assert reached == sorted(reached)
    assert 0 < reached[0] <= reached[-1] == 1


def test_the_model_finds_the_optimum_in_fifty(space: RecordedSpace) -> None:
    for seed in range(4):
        strategy = make_strategy("model", StrategySetup(space=space, seed=seed))
        seconds = []
        for _ in range(50):
            config = strategy.ask()
            assert config is not None
            outcome = space.outcome(config)
            strategy.tell(config, outcome)
            seconds.append(outcome.median or float("inf"))
        assert min(seconds) == space.optimum


def test_winners_of_other_spaces_of_the_kernel_come_first(space: RecordedSpace) -> None:
    other = kernel_tuner_cache.space("other", kernel_tuner())
    stranger = kernel_tuner_cache.space("s", {**kernel_tuner(), "kernel_name": "stranger"})
    assert winners_elsewhere(space, [space, stranger]) == []
    first = winners_elsewhere(space, [space, other, stranger])
    assert first == other.best(3)
    assert fractions("model", space, seed=0, first=first) == [1.0] * len(CHECKPOINTS)


def test_a_score_is_a_mean_within_its_interval() -> None:
    same, spread = score([0.5] * 5), score([0.4, 0.5, 0.6, 0.7])
    assert (same.mean, same.low, same.high) == (0.5, 0.5, 0.5)
    assert 0.4 <= spread.low < spread.mean < spread.high <= 0.7
    assert spread.mean == pytest.approx(0.55)


def test_the_mean_over_spaces_is_taken_seed_by_seed() -> None:
    entries = [Entry("a", "tpe", ((0.2, 1.0), (1.0, 1.0)))]
    entries.append(Entry("b", "tpe", ((0.4, 1.0), (1.0, 1.0))))
    mean = with_means(entries)[-1]
    assert mean.space == ALL
    assert mean.fractions == ((pytest.approx(0.3), 1.0), (1.0, 1.0))


def test_the_command_prints_and_writes_the_scores(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [tmp_path / "toy_a.json", tmp_path / "toy_b.json"]
    for path, content in zip(paths, (kernel_tuner(), t4()), strict=True):
        path.write_text(json.dumps(content))
    files = [*map(str, paths), "--json"]
    options = ["--strategies", "enumeration", "--seeds", "2", "--plot", str(tmp_path / "s.svg")]
    assert run(["replay", *files, *options, "--transfer"]) == 0
    out, shown = capsys.readouterr()
    assert "toy_a" in shown and "1.000 (1.000 .. 1.000)" in shown and ALL in shown
    written = documented(out)
    assert written["evaluations"] == list(CHECKPOINTS) and written["transfer"] is True
    assert [len(result["fractions"]) for result in written["results"]] == [2, 2, 2]
    assert (tmp_path / "s.svg").read_text().count("<polyline") == 1


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--strategies", "tpa"], "did you mean 'tpe'"),
        (["--strategies", ","], "names none"),
        (["--seeds", "0"], "--seeds is 0; it must be >= 1"),
        (["--plot", "no/such/folder.svg"], "no/such/folder.svg"),
    ],
)
def test_a_wrong_command_line_is_refused_before_any_search(
    options: list[str], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "toy.json").write_text(json.dumps(kernel_tuner()))
    assert run(["replay", str(tmp_path / "toy.json"), *options]) == 2
    printed = capsys.readouterr()
    assert why in " ".join(printed.err.split()) and not printed.out
