"""Opening a results database: its engine, transactions and schema upgrade."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from sqlalchemy import Connection, Engine, NullPool, Pool, QueuePool, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from gdn_ops.codegen.errors import ResultsError
from gdn_ops.dispatch.results_file import (
    ELSEWHERE,
    SCHEMA_VERSION,
    exists,
    missing,
    read_only,
    results_error,
    schema_version,
)
from gdn_ops.results_path import shipped_database, user_database
from gdn_ops.tuner.store.models import to_json

BUSY_SECONDS = 60.0
_BEGIN = "gdn_begin"


@dataclass(frozen=True)
class Database:
    """An open results database, used through ``read`` and ``write``.

    Both turn errors of SQLite into a ResultsError that names the file and the remedy.
    """

    path: Path
    engine: Engine

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that sees one consistent state."""
        with results_errors(self.path), Session(self.engine) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction: on the disk once the block is left, undone if the block raises.

        It takes the write lock when it starts. A transaction that reads first and writes later
        fails without waiting if another process has written in between.
        """
        engine = self.engine.execution_options(**{_BEGIN: "IMMEDIATE"})
        with results_errors(self.path), Session(engine) as session, session.begin():
            session.connection()  # otherwise the transaction starts with the first statement
            yield session

    def faults(self) -> list[str]:
        """What the integrity checks of SQLite find; empty if the database is not damaged."""
        with self.read() as session:
            connection = session.connection()
            found = connection.exec_driver_sql("PRAGMA integrity_check").scalars().all()
            broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
        rows = [f"a row of {row[0]} points to no row of {row[2]}" for row in broken]
        return [text for text in found if text != "ok"] + rows

    def close(self) -> None:
        """Close the file; when the last process closes it, SQLite merges the write-ahead log."""
        self.engine.dispose()

    def __enter__(self) -> Database:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def open_database(path: Path | str, *, create: bool, writable: bool = True) -> Database:
    """Open a results database; a writable one is upgraded to the newest schema.

    WAL mode lets other processes read while the tuner writes. ``synchronous=FULL`` syncs the log at
    each commit, so that even a power cut loses no finished trial. A trial takes a thousand times
    longer than the sync.

    Args:
        create: create the file and its folders if they do not exist.
        writable: False opens the file read-only and does not upgrade it.

    Raises:
        ResultsError: the file is missing, corrupt, another program's, of a newer version, locked or
            not writable; or it is the shipped database, opened to be written.
    """
    path = Path(path).expanduser().absolute()
    if not writable:
        _require_current(path)
        return Database(path, _engine(path, _connector(path, mode="ro"), QueuePool))
    _refuse_shipped(path)
    if not exists(path):
        if not create:
            raise missing(path)
        make_folder(path.parent)
    with results_errors(path):
        if _version(path) < SCHEMA_VERSION:
            _upgrade(path)
        database = Database(path, _engine(path, _connector(path, mode="rwc"), QueuePool))
        try:
            with database.write():
                pass  # a file that cannot be written is found here, not after the first trial
        except BaseException:
            database.close()
            raise
    return database


def publish(source: Path | str, destination: Path | str) -> None:
    """Write a compact copy of a database that can also be read from read-only media.

    The shipped ``results.db`` is made this way. The destination is replaced in one step.

    Raises:
        ResultsError: the source cannot be read or the destination cannot be written.
    """
    source, destination = Path(source), Path(destination).resolve()
    _require_current(source)
    part = destination.with_name(f"{destination.name}.part")
    with results_errors(destination), read_only(source) as connection:
        part.unlink(missing_ok=True)
        # VACUUM drops WAL mode, whose side files could not be created in site-packages
        connection.execute("VACUUM INTO ?", (str(part),))
        part.replace(destination)


@contextmanager
def results_errors(path: Path) -> Iterator[None]:
    """Turn errors of SQLite and of the file system into a ResultsError."""
    try:
        yield
    except DBAPIError as error:
        raise results_error(path, error.orig or error) from error
    except (sqlite3.Error, OSError, UnicodeDecodeError) as error:
        raise results_error(path, error) from error


def _version(path: Path) -> int:
    if not exists(path):
        return 0
    with read_only(path) as connection:
        return schema_version(connection, path)


def _require_current(path: Path) -> None:
    with read_only(path) as connection:
        found = schema_version(connection, path)
    if found < SCHEMA_VERSION:
        raise ResultsError(
            f"{path} has schema version {found}; this gdn-ops reads {SCHEMA_VERSION}. Copy it to a "
            "folder of your own and open the copy with `gdn tune --db COPY`, which upgrades it."
        )


def _upgrade(path: Path) -> None:
    from gdn_ops.tuner.store.migrations import (
        upgrade,  # imported here, because Alembic is slow to import and rarely needed
    )

    connect = _connector(path, mode="rwc", foreign_keys=False)
    engine = _engine(path, connect, NullPool).execution_options(**{_BEGIN: "IMMEDIATE"})
    upgrade(path, engine)


def _refuse_shipped(path: Path) -> None:
    if os.path.realpath(path) == os.path.realpath(shipped_database()):
        raise ResultsError(
            f"{path} ships with gdn-ops and must not be written; use your own database, "
            f"{user_database()}, or {ELSEWHERE}."
        )


def make_folder(folder: Path) -> None:
    """Make the folder of a database, or raise ResultsError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResultsError(
            f"the folder {folder} of the results database cannot be created ({error.strerror}); "
            f"create it yourself or {ELSEWHERE}."
        ) from error


def _connector(path: Path, *, mode: str, foreign_keys: bool = True) -> Callable[[], Any]:
    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{Path(os.path.realpath(path)).as_uri()}?mode={mode}",
            uri=True,
            timeout=BUSY_SECONDS,
            check_same_thread=False,
            isolation_level=None,
        )
        # a damaged text should only lose its own row
        connection.text_factory = lambda text: text.decode("utf-8", "replace")
        connection.execute(f"PRAGMA foreign_keys = {int(foreign_keys)}")
        if mode != "ro":
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
        return connection

    return connect


def _engine(path: Path, connect: Callable[[], Any], pool: type[Pool]) -> Engine:
    engine = create_engine(
        "sqlite+pysqlite://", creator=connect, poolclass=pool, json_serializer=to_json
    )

    # the sqlite3 module starts no transaction before DDL by itself, so all are started here
    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        kind = connection.get_execution_options().get(_BEGIN, "DEFERRED")
        connection.exec_driver_sql(f"BEGIN {kind}")

    return engine
