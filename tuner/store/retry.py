"""Trying a transaction again while the server of a database is away, e.g. as it restarts."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from gdn_ops.tuner.store.database import Database
from gdn_ops.tuner.store.rows import Warn
from gdn_ops.tuner.store.server_errors import ServerGone

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds between two attempts: each pause is twice as long as the one before."""


class Patient(Protocol):
    """What has a database and somebody to tell."""

    database: Database

    @property
    def warn(self) -> Warn: ...


Store = TypeVar("Store", bound=Patient)
Args = ParamSpec("Args")
Result = TypeVar("Result")


def patiently(
    method: Callable[Concatenate[Store, Args], Result],
) -> Callable[Concatenate[Store, Args], Result]:
    """Decorate a method of one transaction: it is called again while the server is away.

    The method must do the same if a call before it was stored and only the answer was lost. It
    raises the last error after ``Database.patience`` seconds; a database in a file has none.
    """

    @wraps(method)
    def call(store: Store, /, *args: Args.args, **kwargs: Args.kwargs) -> Result:
        begin, pause = time.monotonic(), FIRST_PAUSE
        while True:
            try:
                return method(store, *args, **kwargs)
            except ServerGone as error:
                left = begin + store.database.patience - time.monotonic()
                if left <= 0:
                    raise
                if pause == FIRST_PAUSE:
                    _tell(store, error)
            time.sleep(min(pause, left))
            pause = min(2 * pause, LONGEST_PAUSE)

    return call


def _tell(store: Any, error: ServerGone) -> None:
    store.warn(f"{error} It is tried again for up to {store.database.patience:.0f} s.")
