"""Where to look first: what was best for the nearest problems, on this target or another."""

from __future__ import annotations

from collections.abc import Mapping
from math import log2
from typing import Any

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.problem import Problem
from gdn_ops.tuner.spaces.space import Space
from gdn_ops.tuner.store.records import Trial
from gdn_ops.tuner.store.store import Store

MOST = 3


def neighbours(space: Space, store: Store) -> list[Config]:
    """The best config of the stage for each of the nearest problems, nearest first.

    They are tried here again: a time from elsewhere says nothing, that a config was best does.
    """
    best: dict[tuple[str, str], Trial] = {}
    for trial in store.trials(status="ok", stage=space.stage if space.timed_separately else None):
        key = trial.key
        here = (space.target.name, space.problem.id())
        if key.plan != space.plan or (key.target, key.problem_id) == here:
            continue
        if key.scope != ("stage" if space.timed_separately else "plan"):
            continue
        before = best.get((key.target, key.problem_id))
        if before is None or _seconds(trial) < _seconds(before):
            best[key.target, key.problem_id] = trial
    facts = store.problems()
    known = [trial for trial in best.values() if trial.key.problem_id in facts]

    def order(trial: Trial) -> tuple[bool, float]:
        away = trial.key.target != space.target.name
        return away, distance(space.problem, facts[trial.key.problem_id])

    configs = (_config(space, trial) for trial in sorted(known, key=order))
    found: dict[Any, Config] = {}
    for config in configs:
        if config is not None:
            found.setdefault(space.point(config), config)
    return list(found.values())[:MOST]


def distance(problem: Problem, facts: Mapping[str, Any]) -> float:
    """How unlike two problems are: doublings of sizes, and four for a fact that differs."""
    own = problem.facts()
    total = 0.0
    for name, value in own.items():
        other = facts.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and isinstance(other, int):
            total += abs(log2(max(1, value)) - log2(max(1, other)))
        elif value != other:
            total += 4.0
    return total


def _config(space: Space, trial: Trial) -> Config | None:
    config = trial.key.config if space.timed_separately else trial.key.config.get(space.stage)
    return None if config is None else space.adopt(config)


def _seconds(trial: Trial) -> float:
    return trial.outcome.median or float("inf")
