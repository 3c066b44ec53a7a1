"""Judgements of the cost model by all trials that results databases hold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

from gdn_ops.codegen.target import Target
from gdn_ops.codegen.targets import TARGETS
from gdn_ops.results_url import Location
from gdn_ops.tuner.cores import cores
from gdn_ops.tuner.cost.judgement import Judgement, judge
from gdn_ops.tuner.cost.model import CostModel
from gdn_ops.tuner.store.db import open_database
from gdn_ops.tuner.store.records import Trial
from gdn_ops.tuner.store.store import Store
from gdn_ops.tuner.store.winner_tables import exists
from gdn_ops.tuner.workers.worker_pool import WorkerPool


def stored_judgements(
    databases: Iterable[Location], *, warn: Callable[[str], None]
) -> list[Judgement]:
    """Judge the model on every target that has ok trials.

    Trials on a CPU are predicted with the rates of this machine. On another CPU the predicted times
    are then wrong, but their order is less so.

    Args:
        databases: where they are; a file that does not exist is skipped.
        warn: is called with a sentence for rows that are left out.
    """
    trials: dict[str, list[Trial]] = defaultdict(list)
    problems: dict[str, dict[str, object]] = {}
    for location in databases:
        if not exists(location):
            continue
        with open_database(location, create=False, writable=False) as database:
            store = Store(database, warn=warn)
            problems |= {name: dict(facts) for name, facts in store.problems().items()}
            for trial in store.trials(status="ok"):
                trials[trial.key.target].append(trial)
    found: list[Judgement] = []
    with WorkerPool(cores(), threads=1) as pool:
        for name, rows in trials.items():
            target = _target(name, rows[0].key.arch)
            if target is None:
                warn(f"{len(rows)} trials on {name} are left out: its peak rates are not known.")
                continue
            found += judge(rows, problems, CostModel(target, pool).seconds)
    return found


def _target(name: str, arch: str) -> Target | None:
    """The target of a stored name; None if it is not known. Of a CPU only the name matters."""
    if name in TARGETS:
        return TARGETS[name]
    if name.startswith("cpu"):
        return Target(name=name, vendor="cpu", arch=arch, device="cpu", sms=1)
    return None
