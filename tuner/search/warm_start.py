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
MAX_ASKED = 64
"""Nearest problems that are asked for a config; many may lack the plan, or have the same one."""


def nearest_best_configs(space: Space, store: Store) -> list[Config]:
    """The best config of the space's stage for each of the nearest problems, nearest first.

    Problems on the same target come first, then those that could share a winner with this one,
    then by ``distance``. Times measured elsewhere do not compare with times here, so only the
    configs are taken over, to be tried again.
    """
    own, facts = space.problem.facts(), store.problems()
    here = (space.target.name, space.problem.id())
    tried = [pair for pair in store.tried() if pair != here and has_sizes(facts.get(pair[1], {}))]

    def order(pair: tuple[str, str]) -> tuple[bool, bool, float, str]:
        target, problem_id = pair
        other = facts[problem_id]
        away = target != space.target.name
        return away, not can_share(own, other), distance(own, other), problem_id

    found: dict[Any, Config] = {}
    for target, problem_id in sorted(tried, key=order)[:MAX_ASKED]:
        stage = space.stage if space.timed_separately else None
        trial = store.fastest_trial(target, problem_id, plan=space.plan, stage=stage)
        config = None if trial is None else _config(space, trial)
        if config is not None:
            found.setdefault(space.point(config), config)
        if len(found) == MAX_NEIGHBOURS:
            break
    return list(found.values())


def _config(space: Space, trial: Trial) -> Config | None:
    config = trial.key.config if space.timed_separately else trial.key.config.get(space.stage)
    return None if config is None else space.adopt(config)
