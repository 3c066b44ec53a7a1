"""Warm start: a search first tries what was best for the nearest problems, here or elsewhere."""

from __future__ import annotations

from typing import Any

from gdn_ops.codegen.axis import Config
from gdn_ops.dispatch.distance import can_share, distance, has_sizes
from gdn_ops.tuner.spaces.space import Space
from gdn_ops.tuner.store.records import Trial
from gdn_ops.tuner.store.store import Store

MAX_NEIGHBOURS = 3
"""Configs of other problems that a search tries first."""


def nearest_best_configs(space: Space, store: Store) -> list[Config]:
    """The best config of the space's stage for each of the nearest problems, nearest first.

    Problems on the same target come first, then those that could share a winner with this one,
    then by ``distance``. Times measured elsewhere do not compare with times here, so only the
    configs are taken over, to be tried again.
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
    own, facts = space.problem.facts(), store.problems()
    known = [t for t in best.values() if has_sizes(facts.get(t.key.problem_id, {}))]

    def order(trial: Trial) -> tuple[bool, bool, float]:
        away = trial.key.target != space.target.name
        other = facts[trial.key.problem_id]
        return away, not can_share(own, other), distance(own, other)

    configs = (_config(space, trial) for trial in sorted(known, key=order))
    found: dict[Any, Config] = {}
    for config in configs:
        if config is not None:
            found.setdefault(space.point(config), config)
    return list(found.values())[:MAX_NEIGHBOURS]


def _config(space: Space, trial: Trial) -> Config | None:
    config = trial.key.config if space.timed_separately else trial.key.config.get(space.stage)
    return None if config is None else space.adopt(config)


def _seconds(trial: Trial) -> float:
    return trial.outcome.median or float("inf")
