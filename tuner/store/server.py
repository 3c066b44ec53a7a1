"""A results database on a PostgreSQL server: its connections, its lock and its schema."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, text
from sqlalchemy.orm import Session

from gdn_ops.codegen.errors import ResultsError
from gdn_ops.dispatch.results_file import APPLICATION_ID, SCHEMA_VERSION
from gdn_ops.results_url import ResultsUrl
from gdn_ops.tuner.store.database import Database, NoResults
from gdn_ops.tuner.store.models import Base, to_json
from gdn_ops.tuner.store.server_errors import LOCK_SECONDS, server_errors

SCHEMA = "gdn_ops"
"""The schema of our tables, so that they share a database with others, e.g. those of Optuna."""

IDLE_SECONDS = 300
"""How long a transaction may do nothing, so that a tuner that hangs does not lock out the others
forever."""

PATIENCE = 120.0
"""For how many seconds a transaction is tried again while the server is away."""

CONNECTION: dict[str, Any] = {
    "connect_timeout": 10,
    "application_name": "gdn-ops",
    "client_encoding": "utf8",
    # a server that vanishes is noticed after a minute, idle or not
    "tcp_user_timeout": 60_000,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}
"""Parameters of a connection that the URL may replace."""

_LOCK = text(f"SELECT pg_advisory_xact_lock({APPLICATION_ID})")
_TABLES = text(
    "SELECT relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace "
    f"WHERE nspname = '{SCHEMA}'"
)
_SCHEMAS = text(f"SELECT count(*) FROM pg_namespace WHERE nspname = '{SCHEMA}'")
_WRITABLE = text(
    "SELECT bool_and(has_table_privilege(name, 'INSERT') AND has_table_privilege(name, 'UPDATE')) "
    "FROM unnest(CAST(:tables AS text[])) AS name"
)


class ServerDatabase(Database):
    """A results database on a server; see ``Database``."""

    location: ResultsUrl
    patience = PATIENCE

    @contextmanager
    def read(self) -> Iterator[Session]:
        engine = self.engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
        with server_errors(self.location), Session(engine) as session:
            yield session

    @contextmanager
    def write(self, *, alone: bool = True) -> Iterator[Session]:
        with server_errors(self.location), Session(self.engine) as session, session.begin():
            if alone:
                session.execute(_LOCK)
            yield session

    def faults(self) -> list[str]:
        return []  # a server checks its pages and keys itself


def open_server(url: ResultsUrl, *, create: bool, writable: bool) -> ServerDatabase:
    """Open a database on a server; a writable one is upgraded to the newest schema.

    The upgrade is one transaction, under the lock that every writer takes.

    Args:
        create: make the tables if there are none.

    Raises:
        ResultsError: psycopg is not installed, the server cannot be reached or refuses, the tables
            are missing, of another program or of a newer version.
    """
    engine = _engine(url)
    database = ServerDatabase(url, engine)
    try:
        with server_errors(url), engine.connect() as connection:
            found = _version(connection, url)
        if found == 0 and not create:
            raise NoResults(
                f"there are no results in {url}; `gdn tune --db {url}` makes the tables."
            )
        if found < SCHEMA_VERSION and not writable:
            raise ResultsError(
                f"{url} has schema version {found}; this gdn-ops reads {SCHEMA_VERSION}. "
                f"`gdn tune --db {url}` upgrades it, after which older versions of gdn-ops cannot "
                "use it."
            )
        if found < SCHEMA_VERSION:
            _upgrade(database)
        if writable:
            _require_writable(database)
    except BaseException:
        database.close()
        raise
    return database


def _engine(url: ResultsUrl) -> Engine:
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        raise ResultsError(
            f"{url} needs psycopg ({error}); `pip install 'gdn-ops[postgres]'`."
        ) from error
    given = dict(url.query)
    options = (
        f"-c search_path={SCHEMA} -c lock_timeout={LOCK_SECONDS}s "
        f"-c idle_in_transaction_session_timeout={IDLE_SECONDS}s {given.pop('options', '')}"
    )
    address = URL.create(
        "postgresql+psycopg",
        username=url.user or None,
        password=url.password,
        host=url.host or None,
        port=url.port,
        database=url.database,
    )
    return create_engine(
        address,
        connect_args=CONNECTION | given | {"options": options.strip()},
        pool_pre_ping=True,
        json_serializer=to_json,
        # JSON comes as text, as from SQLite: ``models`` parses it, so that one row may be damaged
        json_deserializer=lambda data: bytes(data).decode("utf-8", "replace"),
        hide_parameters=True,
    )


def _version(connection: Connection, url: ResultsUrl) -> int:
    """The schema version; 0 if there are no tables."""
    tables = set(connection.scalars(_TABLES))
    if not tables:
        return 0
    if "alembic_version" not in tables:
        raise ResultsError(
            f"the schema {SCHEMA} of {url} is another program's; name another database."
        )
    found = connection.scalar(text("SELECT version_num FROM alembic_version"))
    if not str(found).isdigit():
        raise ResultsError(
            f"the schema {SCHEMA} of {url} has version {found!r:.40}, which no version of gdn-ops "
            "writes; name another database."
        )
    if int(str(found)) > SCHEMA_VERSION:
        raise ResultsError(
            f"{url} has schema version {int(str(found))}; this version of gdn-ops reads versions "
            f"up to {SCHEMA_VERSION}. Upgrade gdn-ops or name another database."
        )
    return int(str(found))


def _upgrade(database: ServerDatabase) -> None:
    from gdn_ops.tuner.store.migrations import run  # Alembic is slow to import and rarely needed

    with server_errors(database.location), database.engine.begin() as connection:
        connection.execute(_LOCK)
        # another process may have upgraded it while this one waited for the lock
        if _version(connection, database.location) < SCHEMA_VERSION:
            # IF NOT EXISTS would need the right to create one although there is one
            if not connection.scalar(_SCHEMAS):
                connection.execute(text(f"CREATE SCHEMA {SCHEMA}"))
            run(connection)


def _require_writable(database: ServerDatabase) -> None:
    tables = [f"{SCHEMA}.{name}" for name in Base.metadata.tables]
    with database.read() as session:
        standby = session.scalar(text("SELECT pg_is_in_recovery()"))
        allowed = session.scalar(_WRITABLE, {"tables": tables})
    if standby or not allowed:
        why = "its server is a standby" if standby else "its user may not write the tables"
        raise ResultsError(f"{database.location} cannot be written: {why}; name another database.")
