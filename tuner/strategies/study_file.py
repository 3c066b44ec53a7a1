"""The file of Optuna's studies, next to the results database if that is a file.

It is an SQLite file. Optuna's journal would be faster, but a kill during a write leaves a torn line
that makes it unreadable, or a lock for which the next run waits 30 seconds. The file can be deleted
at any time: every outcome is in the results database and is added again.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Lock

from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy import QueuePool
from sqlalchemy.exc import DBAPIError

from gdn_ops.codegen.errors import ResultsError
from gdn_ops.results_path import cache_folder
from gdn_ops.results_url import Location
from gdn_ops.unlock import unlock

BUSY_SECONDS = 60.0
BUSY = "busy"


def studies_beside(database: Path) -> Path:
    """The path of the studies that belong to a results database."""
    return database.with_name(f"{database.stem}-studies.db")


def studies_of(database: Location) -> Path:
    """The path of the studies of a database; those of a server are in the folder of the cache."""
    if isinstance(database, Path):
        return studies_beside(database)
    name = hashlib.sha256(str(database).encode()).hexdigest()[:16]
    return cache_folder() / f"studies-{name}.db"


@contextmanager
def claimed(path: Path) -> Iterator[Path | None]:
    """Context manager: the file of studies for one tuner; None while another one has it.

    A tuner fails the trials of a study that a killed run left running, and would fail those of a
    tuner that runs. The second one therefore keeps its studies in memory: it fills them from the
    results database, as it would fill the file.
    """
    claim = _claim(path.with_suffix(".lock"))
    try:
        yield None if claim is BUSY else path
    finally:
        if isinstance(claim, int):
            unlock(claim)


def _claim(lock: Path) -> int | str | None:
    """A locked descriptor, ``BUSY``, or None where files cannot be locked."""
    try:
        import fcntl
    except ImportError:
        return None
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:
        return None  # what writes the file itself says why
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        return BUSY if isinstance(error, BlockingIOError) else None
    return descriptor


_OPENING = Lock()
"""Searches that run side by side share one storage; two would both create its tables."""


def storage_of(path: Path) -> RDBStorage:
    """Open a file of studies; it is created if it does not exist.

    Raises:
        ResultsError: the file is not an SQLite database, is locked or cannot be written.
    """
    with _OPENING:
        return _storage_of(path)


@cache
def _storage_of(path: Path) -> RDBStorage:

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        # no sync at each commit: what a power cut loses here is in the results database
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    with study_errors(path):
        return RDBStorage("sqlite://", engine_kwargs={"creator": connect, "poolclass": QueuePool})


@contextmanager
def study_errors(path: Path | None) -> Iterator[None]:
    """Turn errors of Optuna's storage into a ResultsError with the remedy."""
    try:
        yield
    except (StorageInternalError, DBAPIError, sqlite3.Error) as error:
        cause = str(error.__cause__ or error).partition("\n")[0]
        raise ResultsError(
            f"the file of the search's studies, {path}, cannot be used ({cause}); free space if "
            "the disk is full, else delete the file: every trial is in the results database."
        ) from error
