"""Writing search spaces in the T4 format, one file per space.

T4 is the results format of the autotuning benchmark hub (FAIR benchmark suite, schema 1.0.0). It
records configurations, their times in milliseconds, and why a configuration is invalid.
"""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gdn_ops.tuner.report import console
from gdn_ops.tuner.store.db import open_database
from gdn_ops.tuner.store.records import Trial
from gdn_ops.tuner.store.store import Store

INVALIDITY = {
    "ok": "correct",
    "compile-error": "compile",
    "timeout": "timeout",
    "wrong": "correctness",
    "nondeterministic": "correctness",
    "invalid": "constraints",
}
"""T4's terms for our statuses; every other failure is ``runtime``."""


def write_spaces(database: Path, folder: Path) -> int:
    """Write one file per target, problem, plan, stage and interface; return their number."""
    spaces: dict[tuple[str, ...], list[Trial]] = defaultdict(list)
    with open_database(database, create=False, writable=False) as opened:
        for trial in Store(opened, warn=console.remark).trials():
            key, interface = trial.key, trial.key.interface.items()
            shared = "-".join(f"{name}{value}" for name, value in interface)
            stage = key.stage or "whole"
            spaces[key.target, key.problem_id, key.plan, stage, shared].append(trial)
    folder.mkdir(parents=True, exist_ok=True)
    for place, trials in spaces.items():
        name = "_".join(part.replace("/", "-") for part in place if part)
        with gzip.open(folder / f"{name}.json.gz", "wt") as file:
            json.dump(t4(trials), file)
    return len(spaces)


def t4(trials: Sequence[Trial]) -> dict[str, Any]:
    """Return the trials of one space as a T4 document."""
    return {
        "schema_version": "1.0.0",
        "metadata": {"timeunit": "miliseconds"},  # the spelling of the schema
        "results": [_result(trial) for trial in trials],
    }


def _result(trial: Trial) -> dict[str, Any]:
    outcome = trial.outcome
    correct = outcome.status == "ok"
    runtimes = [1e3 * seconds for seconds in outcome.samples]
    median = None if outcome.median is None else 1e3 * outcome.median
    return {
        "timestamp": trial.created.isoformat(sep=" "),
        "configuration": _flat(trial),
        "times": {"runtimes": runtimes},
        "invalidity": INVALIDITY.get(outcome.status, "runtime"),
        "correctness": int(correct),
        "measurements": [{"name": "time", "value": median, "unit": "ms"}] if correct else [],
        "objectives": ["time"],
    }


def _flat(trial: Trial) -> dict[str, Any]:
    """Return the axes by name, or by stage and name for a variant with several stages."""
    config = trial.key.config
    if trial.key.stage is not None:
        return dict(config)
    alone = len(config) == 1
    return {
        name if alone else f"{stage}.{name}": value
        for stage, axes in config.items()
        for name, value in axes.items()
    }
