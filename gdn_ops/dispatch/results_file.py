"""The file of a results database: its identification, and opening it to read."""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

from gdn_ops.codegen.errors import ResultsError
from gdn_ops.dispatch.results_errors import LARGEST_VALUE, elsewhere, missing, results_error

APPLICATION_ID = 0x67646E73
"""``PRAGMA application_id`` of a results database: "gdns"."""

SCHEMA_VERSION = 4
"""The newest schema that this version can read: ``PRAGMA user_version``, which is the number of
the last Alembic revision in ``tuner/store/migrations``."""

LOCK_SECONDS = 10.0
"""How long a reader waits for a lock; only databases that are not in WAL mode make it wait."""

CALL_SECONDS, COMMAND_SECONDS = 1.0, 30.0
"""How long a call, and a command of ``gdn``, may read a database before it goes on without it."""
LARGEST_COPY = 1 << 26
"""Bytes that a call copies, at most, to read a database whose log needs a folder to write in."""
LATER = {"sources": 2, "driver": 4, "ptxas": 4}
"""Columns that older views ``winners`` do not have, and the first schema version that has them."""
_STEPS = 10_000
"""Instructions of SQLite between two looks at the clock."""


def exists(path: Path, *, instead: str | None = None) -> bool:
    """Return whether a path exists.

    Args:
        instead: what a user can do if that cannot be found out, for the error message.

    Raises:
        ResultsError: the operating system does not allow to look.
    """
    try:
        path.stat()  # Path.exists takes a loop of links for a missing file
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise results_error(path, error, instead=instead) from error
    return True


@contextmanager
def read_only(
    path: Path, *, instead: str | None = None, seconds: float | None = None
) -> Iterator[sqlite3.Connection]:
    """Open a database to read, also on read-only media. It leaves no files next to it.

    Args:
        instead: what a user can do if the file cannot be read, for the error message.
        seconds: how long opening and reading may take together, e.g. ``CALL_SECONDS``; sizes are
            limited then, too, by ``LARGEST_VALUE`` and ``LARGEST_COPY``. None for no limits.

    Raises:
        ResultsError: the file does not exist, or SQLite cannot read it within the limits.
    """
    real = Path(os.path.realpath(path))
    if not exists(real, instead=instead):
        raise missing(path, instead=instead)
    if not real.is_file():
        kind = "a folder" if real.is_dir() else "a device or a pipe"
        raise ResultsError(
            f"{path} is {kind}, not a results database; {instead or elsewhere(path)}."
        )
    start = monotonic()
    try:
        with ExitStack() as stack:
            if seconds is None:
                connection = _connect(real, stack, LOCK_SECONDS)
            else:
                # half of the time, so that some is left to read once the lock is free
                connection = _connect(real, stack, seconds / 2, most=LARGEST_COPY)
                _limit(connection, start + seconds)
            connection.execute("PRAGMA trusted_schema = OFF")
            # An invalid text must cost one row, not the whole read.
            connection.text_factory = lambda text: text.decode("utf-8", "replace")
            yield connection
    except (sqlite3.Error, OSError, UnicodeDecodeError) as error:
        # UnicodeDecodeError: SQLite's message about a damaged schema quotes its bytes.
        raise results_error(path, error, instead=instead) from error


def schema_version(
    connection: sqlite3.Connection, path: Path, *, instead: str | None = None
) -> int:
    """Return the schema version of an open database; 0 if the database is empty.

    Raises:
        ResultsError: the database belongs to another program or to a newer version of gdn-ops.
    """
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    application = int(connection.execute("PRAGMA application_id").fetchone()[0])
    objects = int(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
    if application == 0 and version == 0 and objects == 0:
        return 0
    instead = instead or elsewhere(path)
    if application != APPLICATION_ID:
        raise ResultsError(
            f"{path} is the SQLite database of another program: its application id is "
            f"{application:#x} (schema version {version}), that of a results database is "
            f"{APPLICATION_ID:#x}; {instead}."
        )
    if version < 1:
        raise ResultsError(
            f"{path} has schema version {version}, which no version of gdn-ops writes; {instead}."
        )
    if version > SCHEMA_VERSION:
        raise ResultsError(
            f"{path} has schema version {version}; this version of gdn-ops reads versions up to "
            f"{SCHEMA_VERSION}. Upgrade gdn-ops or {instead}."
        )
    _require_tables_of(version, connection, path, instead=instead)
    return version


def _require_tables_of(
    version: int, connection: sqlite3.Connection, path: Path, *, instead: str
) -> None:
    """Refuse a file whose view is of a newer schema version than the file says it has."""
    found = {row[0] for row in connection.execute("SELECT name FROM pragma_table_info('winners')")}
    for name, since in LATER.items():
        if name in found and since > version:
            raise ResultsError(
                f"{path} says that it has schema version {version}, and its view of winners has "
                f"the column {name}, which came with version {since}: its version was changed by "
                f"hand. Restore a copy or {instead}."
            )


def _limit(connection: sqlite3.Connection, end: float) -> None:
    """Interrupt what a connection does at a moment of the monotonic clock; limit its values."""
    connection.set_progress_handler(lambda: monotonic() > end, _STEPS)
    if sys.version_info >= (3, 11):
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LARGEST_VALUE)


def _connect(
    real: Path, stack: ExitStack, patience: float, *, most: int | None = None
) -> sqlite3.Connection:
    """Open a file.

    Args:
        patience: how many seconds to wait for a lock.
        most: bytes of the file and its logs, above which they are not copied.
    """
    try:
        return _opened(f"{real.as_uri()}?mode={reading_mode(real)}", stack, patience)
    except sqlite3.OperationalError as error:
        # what another process is writing must not be read past its lock
        if "locked" in str(error) or not os.access(real, os.R_OK):
            raise
    # A database in WAL mode needs a -shm file, which cannot be created on read-only media.
    logs = _logs(real)
    if not logs:
        return _opened(f"{real.as_uri()}?mode=ro&immutable=1", stack, patience)
    # `immutable` would ignore what a killed writer left in its log, so read a copy instead.
    files = (real, *logs)
    size = sum(file.stat().st_size for file in files)
    if most is not None and size > most:
        raise ResultsError(
            f"{real} and its log have {size} bytes, and reading them here needs a copy, which may "
            f"have {most}; open the file once where its folder is writable, or {elsewhere(real)}."
        )
    folder = Path(stack.enter_context(TemporaryDirectory()))
    for file in files:
        shutil.copyfile(file, folder / file.name)
    return _opened((folder / real.name).as_uri(), stack, patience)


def reading_mode(real: Path) -> str:
    """How to open a database to read it, with ``PRAGMA query_only``: as SQLite's URI says it.

    A connection that may write removes the files next to a database in WAL mode when it is the last
    one to close; one that may not leaves them there. If a killed writer has left something in a
    log, that stays as it is, and so does the database.
    """
    return "ro" if _logs(real) else "rw"


def _logs(real: Path) -> list[Path]:
    """The logs of a database that hold something."""
    logs = [real.with_name(real.name + suffix) for suffix in ("-wal", "-journal")]
    return [log for log in logs if log.exists() and log.stat().st_size > 0]


def _opened(uri: str, stack: ExitStack, patience: float) -> sqlite3.Connection:
    connection = stack.enter_context(
        closing(sqlite3.connect(uri, uri=True, timeout=patience, isolation_level=None))
    )
    connection.execute("PRAGMA query_only = ON")
    connection.execute("SELECT count(*) FROM sqlite_master")
    return connection
