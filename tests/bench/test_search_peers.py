"""The comparison of search strategies, with stand-ins for the peers."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from bench.search_peers import __main__ as command
from bench.search_peers import kernel_tuner as peer
from bench.search_peers.contender import CannotRun, Contender
from bench.search_peers.stored import Stored
from gdn_ops.tuner.replay import kernel_tuner_cache
from gdn_ops.tuner.replay.recorded_space import RecordedSpace
from gdn_ops.tuner.replay.replay import reached
from tests.tuner.replay.recorded_file import kernel_tuner


@pytest.fixture(scope="module")
def space() -> RecordedSpace:
    return kernel_tuner_cache.space("toy", kernel_tuner())


class Stopped(Exception):
    pass


class Budget:
    def __init__(self, seconds: None, most: int) -> None:
        self.left = most

    def add_evaluations(self, count: int) -> None:
        self.left -= count

    def is_done(self) -> bool:
        return self.left <= 0


def in_order(searchspace: Any, runner: Any, options: Any) -> None:
    """Asks for every config twice, and for one that is not recorded before each."""
    for config in searchspace.configs:
        runner.run([["no such tile", *list(config.values())[1:]]], options)
        runner.run([list(config.values())] * 2, options)


def endless(searchspace: Any, runner: Any, options: Any) -> None:
    for config in cycle(searchspace.configs[:3]):
        runner.run([list(config.values())], options)


def broken(searchspace: Any, runner: Any, options: Any) -> None:
    raise ImportError("no module named skopt")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Kernel Tuner with three strategies, which calls them as the real one does."""
    parts: dict[str, dict[str, object]] = {
        "util": {
            "TuningBudget": Budget,
            "StopCriterionReached": Stopped,
            "RuntimeFailedConfig": str,
        },
        "interface": {
            "Options": SimpleNamespace,
            "strategy_map": {
                f.__name__: SimpleNamespace(tune=f) for f in (in_order, endless, broken)
            },
        },
        "searchspace": {
            "Searchspace": lambda *nothing, from_cache: SimpleNamespace(
                configs=list(from_cache["cache"].values())
            )
        },
    }
    for name, content in parts.items():
        module = ModuleType(f"kernel_tuner.{name}")
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(sys.modules, "kernel_tuner", ModuleType("kernel_tuner"))
    monkeypatch.setattr(peer, "MOST_EVALUATIONS", 20)
    monkeypatch.setattr(peer, "MOST_ASKED", 100)
    monkeypatch.setattr(peer, "_options", lambda name, space, seed, recording: None)
    yield


@pytest.mark.usefixtures("installed")
def test_different_recorded_configs_alone_cost_an_evaluation(space: RecordedSpace) -> None:
    simulation = peer.Simulation()
    evaluated = simulation.search("in_order", space, 0)
    assert evaluated == [space.outcome(config).median for config in space.configs[:20]]
    assert len(simulation.search("endless", space, 0)) == 3
    with pytest.raises(CannotRun, match="ImportError: no module named skopt"):
        simulation.search("broken", space, 0)


def test_fractions_are_those_of_the_best_so_far_and_an_early_end_keeps_them() -> None:
    assert reached([None, 4.0, *[8.0] * 30, 2.0], 2.0) == [0.5, 1.0, 1.0, 1.0]
    assert reached([None], 2.0) == [0.0] * 4


def test_the_command_adds_rows_renews_them_and_says_who_could_not_run(
    tmp_path: Path, space: RecordedSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(space: RecordedSpace, seed: int) -> list[float | None]:
        raise CannotRun("it needs skopt")

    searches = [
        Contender("Peer slow", "Peer 1.5", lambda space, seed: [space.optimum * (2 + seed)]),
        Contender("Peer best", "Peer 1.5", lambda space, seed: [space.optimum]),
        Contender("Peer none", "Peer 1.5", fails),
    ]
    monkeypatch.setattr(command.kernel_tuner, "contenders", lambda: searches)
    monkeypatch.setattr(command.ours, "contenders", list)
    (tmp_path / "toy.json").write_text(json.dumps(kernel_tuner()))
    out = tmp_path / "peers.json"

    def run(*options: str) -> str:
        files = [str(tmp_path / "toy.json"), "-o", str(out), *options]
        monkeypatch.setattr(sys, "argv", ["search_peers", *files])
        command.main()
        return out.with_suffix(".md").read_text()

    table = run("--seeds", "2")
    assert table.index("| Peer best | 1.000") < table.index("| Peer slow | 0.417 (0.333 .. 0.500)")
    assert "| Peer none | it needs skopt |" in table and "Versions: Peer 1.5." in table
    searches[0] = Contender("Peer slow", "Peer 1.6", lambda space, seed: [space.optimum * 4])
    assert run("--seeds", "2", "--missing") == table, "nothing is missing"
    assert "| Peer slow | 0.250" in run("--seeds", "1", "--only", "peer SLOW")
    assert len(Stored(out).rows) == 3
