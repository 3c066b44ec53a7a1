"""The stored trials as studies of Optuna, e.g. for optuna-dashboard."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    IntDistribution,
)
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import QueuePool
from sqlalchemy.exc import DBAPIError

from gdn_ops.codegen.axis import Value
from gdn_ops.codegen.errors import InvalidInput, ResultsError
from gdn_ops.tuner.page.searches import Attempt, Search
from gdn_ops.tuner.store.merge_files import part_of, place

MAX_INT = 2**31
LOG_RANGE = 4
"""An axis whose largest value is this many times its smallest has a logarithmic scale."""


def write_studies(path: Path, searches: Sequence[Search]) -> list[str]:
    """Write a file of studies, one per search; the value of a trial is its time in seconds.

    Failed trials are in it as failed. Each trial has its status, message, interval and variant as
    attributes. Optuna opens the file as ``sqlite:///PATH``.

    Args:
        path: must not exist.

    Returns:
        The names of the studies.

    Raises:
        InvalidInput: the file exists, or its folder does not.
        ResultsError: it cannot be written.
    """
    if os.path.lexists(path):
        raise InvalidInput(f"--optuna {path} exists; delete it or name another file.")
    if not path.absolute().parent.is_dir():
        raise InvalidInput(f"--optuna {path} is in no folder that exists; name another file.")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    part = part_of(path)
    try:
        names = _write(part, searches)
        place(part, path)
    except (StorageInternalError, DBAPIError, sqlite3.Error) as error:
        cause = str(error.__cause__ or error).partition("\n")[0]
        raise ResultsError(
            f"--optuna {path} cannot be written ({cause}); free space if the disk is full, or name "
            "a file elsewhere."
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return names


def _write(part: Path, searches: Sequence[Search]) -> list[str]:
    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(part, check_same_thread=False)
        # no syncs: the file gets its name once it is complete, so a kill leaves no part of it
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA journal_mode = MEMORY")
        return connection

    storage = RDBStorage("sqlite://", engine_kwargs={"creator": connect, "poolclass": QueuePool})
    names = []
    for search in searches:
        study = optuna.create_study(study_name=_name(search), storage=storage, direction="minimize")
        for name, value in _facts(search).items():
            study.set_user_attr(name, value)
        study.add_trials(_trials(search.attempts))
        names.append(study.study_name)
    storage.remove_session()
    storage.engine.dispose()
    return names


def _name(search: Search) -> str:
    stage = search.stage or "whole variants"
    return "/".join(
        (search.target, search.problem_id, search.plan, stage, search.environment.hash[:8])
    )


def _facts(search: Search) -> dict[str, Any]:
    environment = search.environment
    return {
        "value": "seconds",
        "problem_id": search.problem_id, "target": search.target, "plan": search.plan,
        "stage": search.stage, "device": environment.device, "driver": environment.driver,
        "torch": environment.torch, "triton": environment.triton,
    }  # fmt: skip


def _trials(attempts: Sequence[Attempt]) -> list[FrozenTrial]:
    names = dict.fromkeys(name for attempt in attempts for name in attempt.parameters)
    distributions = {
        name: _distribution([a.parameters[name] for a in attempts if name in a.parameters])
        for name in names
    }
    return [_trial(attempt, distributions) for attempt in attempts]


def _trial(attempt: Attempt, distributions: Mapping[str, BaseDistribution]) -> FrozenTrial:
    own = {name: distributions[name] for name in attempt.parameters}
    trial = optuna.create_trial(
        state=TrialState.FAIL if attempt.seconds is None else TrialState.COMPLETE,
        value=attempt.seconds,
        params={name: _encoded(attempt.parameters[name], kind) for name, kind in own.items()},
        distributions=own,
        user_attrs={
            "trial_id": attempt.trial_id, "variant_id": attempt.variant_id,
            "status": attempt.status, "message": attempt.message, "method": attempt.method,
            "low_seconds": attempt.low, "high_seconds": attempt.high,
        },
    )  # fmt: skip
    # Optuna's moments have no time zone and are local
    moment = attempt.created.astimezone().replace(tzinfo=None)
    trial.datetime_start = trial.datetime_complete = moment
    return trial


def _distribution(values: Iterable[Value]) -> BaseDistribution:
    """Numbers as a range; anything else as categories of texts and truth values."""
    found = list(dict.fromkeys((type(value), value) for value in values))
    numbers = [value for kind, value in found if kind is int]
    if len(numbers) == len(found) and all(abs(int(n)) < MAX_INT for n in numbers):
        low, high = min(map(int, numbers)), max(map(int, numbers))
        return IntDistribution(low, high, log=low >= 1 and high >= LOG_RANGE * low)
    if all(kind is bool for kind, _ in found):
        return CategoricalDistribution([False, True])
    return CategoricalDistribution(sorted({str(value) for _, value in found}))


def _encoded(value: Value, distribution: BaseDistribution) -> Value:
    if isinstance(distribution, CategoricalDistribution) and type(value) is not bool:
        return str(value)
    if isinstance(distribution, CategoricalDistribution) and value not in distribution.choices:
        return str(value)
    return value
