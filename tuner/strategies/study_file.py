"""The file of Optuna's studies: the sampler's memory, kept beside the results database.

SQLite and not Optuna's journal, which is faster: a kill while the journal is written leaves a torn
line that makes it unreadable, or a lock that the next run waits 30 seconds for. The file can be
deleted at any time: every outcome stands in the results database and is added again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy import QueuePool
from sqlalchemy.exc import DBAPIError

from gdn_ops.codegen.errors import ResultsError

BUSY_SECONDS = 60.0


def studies_beside(database: Path) -> Path:
    """The file of the studies that belong to a results database."""
    return database.with_name(f"{database.stem}-studies.db")


@cache
def storage_of(path: Path) -> RDBStorage:
    """Open the studies of a file, which is made if it is missing.

    Raises:
        ResultsError: the file is no SQLite database, locked or not writable.
    """

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        # no sync at each commit: after a power cut the results database has what is lost here
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    with study_errors(path):
        return RDBStorage("sqlite://", engine_kwargs={"creator": connect, "poolclass": QueuePool})


@contextmanager
def study_errors(path: Path | None) -> Iterator[None]:
    """Turn the errors of Optuna's storage into a ResultsError with the remedy."""
    try:
        yield
    except (StorageInternalError, DBAPIError, sqlite3.Error) as error:
        cause = str(error.__cause__ or error).partition("\n")[0]
        raise ResultsError(
            f"the search's memory {path} cannot be used ({cause}); make room if the disk is full, "
            "else delete the file: nothing is lost, the results database has every trial."
        ) from error
