"""The schema of a results database, revision by revision.

A change of the schema is one file ``versions/vNNNN_noun.py`` with the next number as its
``revision``, the same change in ``tuner/store/models.py``, and ``SCHEMA_VERSION`` raised in
``gdn_ops/dispatch/results_file.py``. Revisions only go up: a downgrade would lose rows. They run on
SQLite and on PostgreSQL, which has had these tables since revision 0004: the revisions before it
find no rows there.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine

from gdn_ops.codegen.errors import ResultsError
from gdn_ops.dispatch.results_file import SCHEMA_VERSION, schema_version

SCRIPTS = "gdn_ops.tuner.store:migrations"


def upgrade(path: Path, engine: Engine) -> None:
    """Bring a file to the newest schema in one transaction, or leave it as it was.

    The rows of an older schema are first copied to ``<name>.schema-<version>.bak`` next to it: a
    transaction protects from a kill, but not from a wrong revision.

    Args:
        engine: its connections must not enforce foreign keys, so that tables can be rebuilt, and
            its transactions must take the write lock when they start.

    Raises:
        ResultsError: the database is of a newer version, or the new rows contradict each other.
    """
    with closing(sqlite3.connect(path)) as connection:
        found = schema_version(connection, path)
        if 0 < found < SCHEMA_VERSION:
            _back_up(connection, path, found)
    with engine.begin() as connection_:
        # another process may have upgraded it while this one waited for the lock
        if _user_version(connection_) < SCHEMA_VERSION:
            run(connection_)
            _require_sound(connection_, path)


def configuration(connection: Connection) -> Config:
    """Alembic's configuration for a connection that has started a transaction."""
    config = Config()
    config.set_main_option("script_location", SCRIPTS)
    config.attributes["connection"] = connection
    return config


def run(connection: Connection) -> None:
    """Run the revisions that a database lacks, in the transaction of a connection."""
    command.upgrade(configuration(connection), "head")
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _require_sound(connection: Connection, path: Path) -> None:
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    if broken:
        raise ResultsError(
            f"{path} was not upgraded to schema version {SCHEMA_VERSION}: {len(broken)} rows would "
            f"refer to missing rows, the first in table {broken[0][0]}; the file is unchanged. "
            "Move it away and report this."
        )


def _back_up(connection: sqlite3.Connection, path: Path, version: int) -> None:
    backup = path.with_name(f"{path.name}.schema-{version}.bak")
    part = backup.with_name(f"{backup.name}.{os.getpid()}.part")
    part.unlink(missing_ok=True)
    connection.execute("VACUUM INTO ?", (str(part),))
    os.replace(part, backup)


def _user_version(connection: Connection) -> int:
    return int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())
