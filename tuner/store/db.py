"""Opening a results database, by its path or URL; the files among them, which are SQLite's."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, NullPool, Pool, QueuePool, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from gdn_ops.codegen.errors import ResultsError
from gdn_ops.dispatch.results_errors import elsewhere, missing, results_error
from gdn_ops.dispatch.results_file import (
    SCHEMA_VERSION,
    exists,
    read_only,
    reading_mode,
    schema_version,
)
from gdn_ops.results_path import location_of, shipped_database, user_database
from gdn_ops.results_url import Location, ResultsUrl
from gdn_ops.tuner.store.database import Database
from gdn_ops.tuner.store.models import to_json

BUSY_SECONDS = 60.0
_BEGIN = "gdn_begin"


class FileDatabase(Database):
    """A results database in an SQLite file; see ``Database``."""

    location: Path

    @contextmanager
    def read(self) -> Iterator[Session]:
        with results_errors(self.location), Session(self.engine) as session:
            yield session

    @contextmanager
    def write(self, *, alone: bool = True) -> Iterator[Session]:
        # SQLite has one writer at a time, and a transaction that reads first and writes later
        # fails without waiting if another process has written in between
        engine = self.engine.execution_options(**{_BEGIN: "IMMEDIATE"})
        with results_errors(self.location), Session(engine) as session, session.begin():
            session.connection()  # otherwise the transaction starts with the first statement
            yield session

    def faults(self) -> list[str]:
        with self.read() as session:
            connection = session.connection()
            found = connection.exec_driver_sql("PRAGMA integrity_check").scalars().all()
            broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
        rows = [f"a row of {row[0]} points to no row of {row[2]}" for row in broken]
        return [text for text in found if text != "ok"] + rows


def open_database(location: Location | str, *, create: bool, writable: bool = True) -> Database:
    """Open a results database; a writable one is upgraded to the newest schema.

    Args:
        location: the path of a file, or the URL of a PostgreSQL server.
        create: make the file and its folders, or the tables on the server, if they do not exist.
        writable: False opens it read-only and does not upgrade it.

    Raises:
        ResultsError: it is missing, corrupt, another program's, of a newer version, locked or not
            writable; or it is the shipped database, opened to be written.
        InvalidInput: it is a URL that is malformed or of another kind of server.
    """
    if isinstance(location, str):
        location = location_of(location, "the results database")
    if isinstance(location, ResultsUrl):
        # loads the server's part only if it is needed
        from gdn_ops.tuner.store.server import open_server

        return open_server(location, create=create, writable=writable)
    return _open_file(location, create=create, writable=writable)


def _open_file(path: Path, *, create: bool, writable: bool) -> FileDatabase:
    """Open a file.

    WAL mode lets other processes read while the tuner writes. ``synchronous=FULL`` syncs the log at
    each commit, so that even a power cut loses no finished trial. A trial takes a thousand times
    longer than the sync.
    """
    path = path.expanduser().absolute()
    if not writable:
        _require_current(path)
        return FileDatabase(path, _engine(path, _connector(path, writes=False), QueuePool))
    _refuse_shipped(path)
    if not exists(path):
        if not create:
            raise missing(path)
        make_folder_of(path)
    with results_errors(path):
        if _version(path) < SCHEMA_VERSION:
            _upgrade(path)
        database = FileDatabase(path, _engine(path, _connector(path), QueuePool))
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
        connection.execute("PRAGMA query_only = OFF")  # it refuses to write any file
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

    connect = _connector(path, foreign_keys=False)
    engine = _engine(path, connect, NullPool).execution_options(**{_BEGIN: "IMMEDIATE"})
    upgrade(path, engine)


def _refuse_shipped(path: Path) -> None:
    if os.path.realpath(path) == os.path.realpath(shipped_database()):
        raise ResultsError(
            f"{path} ships with gdn-ops and must not be written; use your own database, "
            f"{user_database()}, or name another file."
        )


def make_folder_of(path: Path) -> None:
    """Make the folder of a database, or raise ResultsError."""
    folder = path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResultsError(
            f"the folder {folder} of the results database cannot be created ({error.strerror}); "
            f"create it yourself or {elsewhere(path)}."
        ) from error


def _connector(path: Path, *, writes: bool = True, foreign_keys: bool = True) -> Callable[[], Any]:
    def opened(mode: str) -> sqlite3.Connection:
        return sqlite3.connect(
            f"{Path(os.path.realpath(path)).as_uri()}?mode={mode}",
            uri=True,
            timeout=BUSY_SECONDS,
            check_same_thread=False,
            isolation_level=None,
        )

    def opened_to_read() -> sqlite3.Connection:
        mode = reading_mode(path.resolve())
        connection = opened(mode)
        try:
            connection.execute("SELECT count(*) FROM sqlite_master")
        except sqlite3.OperationalError as error:
            connection.close()
            if mode != "rw" or "locked" in str(error):
                raise
            # WAL mode needs a file next to the database, and the folder cannot be written
            connection = opened("ro&immutable=1")
        return connection

    def connect() -> sqlite3.Connection:
        connection = opened("rwc") if writes else opened_to_read()
        # a damaged text should only lose its own row
        connection.text_factory = lambda text: text.decode("utf-8", "replace")
        connection.execute(f"PRAGMA foreign_keys = {int(foreign_keys)}")
        if writes:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
        else:
            connection.execute("PRAGMA query_only = ON")
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
