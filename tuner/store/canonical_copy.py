"""A copy of a database whose bytes follow from its rows: fixed schema text and page order."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from gdn_ops.dispatch.results_file import APPLICATION_ID, SCHEMA_VERSION
from gdn_ops.tuner.store.models import Base


def write_canonical(database: Path, copy: Path) -> None:
    """Copy the rows of a database of the newest schema to a new file, without WAL mode.

    The migrations leave the constraints of a table in an order that differs from process to
    process. The copy therefore has the schema of ``models.py``, in a fixed order.

    Args:
        database: nobody else may have it open; its rows are copied in the order of their numbers.
        copy: must not exist.

    Raises:
        sqlite3.Error, OSError: a file cannot be read or written.
    """
    ordered = copy.with_name(f"{copy.name}.rows")
    try:
        with closing(sqlite3.connect(ordered, isolation_level=None)) as connection:
            connection.execute("ATTACH ? AS source", (str(database),))
            connection.execute("PRAGMA page_size = 4096")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            connection.execute("BEGIN")
            _copy_table(connection, "alembic_version", _source_sql(connection, "alembic_version"))
            for table in Base.metadata.sorted_tables:
                _copy_table(connection, table.name, _text(CreateTable(table)))
                for index in sorted(table.indexes, key=lambda index: str(index.name)):
                    connection.execute(_text(CreateIndex(index)))
            connection.execute(_source_sql(connection, "winners"))
            connection.execute("COMMIT")
            connection.execute("VACUUM main INTO ?", (str(copy),))
    finally:
        ordered.unlink(missing_ok=True)


def _copy_table(connection: sqlite3.Connection, name: str, sql: str) -> None:
    connection.execute(sql)
    columns = [row[1] for row in connection.execute(f"PRAGMA main.table_info({name})")]
    listed = ", ".join(columns)
    connection.execute(
        f"INSERT INTO main.{name} ({listed}) SELECT {listed} FROM source.{name} ORDER BY rowid"
    )


def _source_sql(connection: sqlite3.Connection, name: str) -> str:
    query = "SELECT sql FROM source.sqlite_master WHERE name = ?"
    return str(connection.execute(query, (name,)).fetchone()[0])


def _text(statement: CreateTable | CreateIndex) -> str:
    return str(statement.compile(dialect=sqlite.dialect())).strip()
