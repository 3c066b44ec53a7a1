"""The strategies of Kernel Tuner, run as in its simulation mode.

Kernel Tuner calls a strategy with a search space, a runner and options. The search space is a
recorded one here, so a config that is not recorded is like one that its restrictions forbid, and
the runner looks times up. As in its own simulation, a repeated config costs no evaluation.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from types import SimpleNamespace
from typing import Any

import numpy as np

from bench.search_peers.contender import CannotRun, Contender
from gdn_ops.codegen.axis import Value
from gdn_ops.tuner.replay.recorded_space import RecordedSpace
from gdn_ops.tuner.replay.replay import MOST_EVALUATIONS

PACKAGE = "kernel-tuner"
MOST_ASKED = 100 * MOST_EVALUATIONS
"""Configs, repeated ones too, after which a search that finds nothing new ends."""
OBJECTIVE = "time"
NOT_FOR_RECORDED = {
    "pyatf_strategies": "pyATF makes its own space from restrictions with named parameters; a "
    "recorded space has configs alone"
}
MOST_THREADS = 1 << 30
"""Threads per block; the recorded configs are within their GPU's limit."""


def contenders() -> list[Contender]:
    """Every strategy that the installed Kernel Tuner has; none if it is not installed."""
    try:
        project = f"Kernel Tuner {version(PACKAGE)}"
    except PackageNotFoundError:
        return []
    simulation = Simulation()
    return [
        Contender(f"Kernel Tuner {name}", project, partial(simulation.search, name))
        for name in import_module("kernel_tuner.interface").strategy_map
    ]


class Simulation:
    """Runs strategies; it keeps the search space that was used last, which takes long to make."""

    def __init__(self) -> None:
        self._space: RecordedSpace | None = None
        self._searchspace: Any = None

    def search(self, name: str, space: RecordedSpace, seed: int) -> list[float | None]:
        """Search a space with the default settings of a strategy.

        Raises:
            CannotRun: the strategy ended with an error.
        """
        if name in NOT_FOR_RECORDED:
            raise CannotRun(NOT_FOR_RECORDED[name])
        stopped = import_module("kernel_tuner.util").StopCriterionReached
        strategy = import_module("kernel_tuner.interface").strategy_map[name]
        searchspace, recording = self._searchspace_of(space), Recording(space)
        options = _options(name, space, seed, recording)
        random.seed(seed)
        np.random.seed(seed)
        with _quiet():
            try:
                strategy.tune(searchspace, recording, options)
            except stopped:
                pass
            except Exception as error:
                raise CannotRun(f"{type(error).__name__}: {error}") from error
        return recording.evaluated

    def _searchspace_of(self, space: RecordedSpace) -> Any:
        if self._space is not space:
            made = import_module("kernel_tuner.searchspace").Searchspace
            cache = {"tune_params": _parameters(space), "cache": dict(enumerate(space.configs))}
            self._searchspace = made(None, None, None, from_cache=cache)
            self._searchspace.max_threads = MOST_THREADS
            self._space = space
        return self._searchspace


class Recording:
    """What Kernel Tuner calls a runner: it looks times up and keeps their order."""

    def __init__(self, space: RecordedSpace) -> None:
        util = import_module("kernel_tuner.util")
        self.budget = util.TuningBudget(None, MOST_EVALUATIONS)
        self.dev = SimpleNamespace(max_threads=MOST_THREADS)
        self.evaluated: list[float | None] = []
        self._space, self._names = space, [axis.name for axis in space.axes]
        self._seen: set[tuple[Value, ...]] = set()
        self._asked = 0
        self._failed, self._stopped = util.RuntimeFailedConfig, util.StopCriterionReached

    def run(
        self, configs: Sequence[Sequence[Value]], tuning_options: object
    ) -> list[dict[str, Any] | None]:
        """The result of each config; None for those that the budget does not reach."""
        results: list[dict[str, Any] | None] = []
        for config in configs:
            self._asked += 1
            if self._asked > MOST_ASKED:
                raise self._stopped("nothing new was asked for")
            if self.budget.is_done():
                results.append(None)
                continue
            point = tuple(getattr(value, "item", lambda v=value: v)() for value in config)
            outcome = self._space.outcomes.get(point)
            if outcome is not None and point not in self._seen:
                self._seen.add(point)
                self.evaluated.append(outcome.median)
                self.budget.add_evaluations(1)
            result: dict[str, Any] = dict(zip(self._names, point, strict=True))
            if outcome is None or outcome.median is None:
                result["__error__"] = self._failed()
                result[OBJECTIVE] = result["__error__"]
            else:
                result[OBJECTIVE] = outcome.median * 1e3
            results.append(result)
        return results

    def available_parallelism(self) -> int:
        return 1

    def add_strategy_time(self, seconds: float) -> None:
        """Nothing: the time of a search is taken outside."""

    def get_environment(self, tuning_options: object) -> dict[str, Any]:
        return {}


def _parameters(space: RecordedSpace) -> dict[str, list[Value]]:
    return {axis.name: list(axis.values) for axis in space.axes}


def _options(name: str, space: RecordedSpace, seed: int, recording: Recording) -> Any:
    """The options that a strategy reads."""
    made = import_module("kernel_tuner.interface").Options
    limited = {} if name == "brute_force" else {"max_fevals": MOST_EVALUATIONS}

    def recorded(config: dict[str, Value]) -> bool:
        return space.is_valid(config)

    return made(
        strategy=name,
        strategy_options=made(limited),
        max_fevals=MOST_EVALUATIONS,
        budget=recording.budget,
        seed=seed,
        objective=[OBJECTIVE],
        objective_higher_is_better=[False],
        tune_params=_parameters(space),
        restrictions=[recorded],
        restrictions_unmodified=[recorded],
        verbose=False,
        simulation_mode=True,
        metrics=None,
        cache={},
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Nothing printed and no warnings, and an empty current folder, for what strategies write."""
    before = os.getcwd()
    with (
        tempfile.TemporaryDirectory(prefix="search-peers-") as folder,
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)
