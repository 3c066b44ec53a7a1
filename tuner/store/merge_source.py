"""The source of a merge, which is only read: of a file a private, upgraded copy."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from gdn_ops.codegen.errors import InvalidInput, ResultsError
from gdn_ops.dispatch.results_file import read_only, schema_version
from gdn_ops.results_url import ResultsUrl
from gdn_ops.tuner.store.database import Database
from gdn_ops.tuner.store.db import open_database
from gdn_ops.tuner.store.excerpt import Excerpt
from gdn_ops.tuner.store.library_file import SUFFIX, extract_database
from gdn_ops.tuner.store.models import Base

Source = Path | ResultsUrl | Excerpt
"""A results database or an exported wheel, a database on a server, or a part of one."""

INSTEAD = "name another file"
ROW_FAULT = re.compile(r"^\S+ value in ")
"""What SQLite's integrity check says of one row's value; such a row is refused alone."""


@contextmanager
def opened_source(source: Source) -> Iterator[Database]:
    """Open a results database to read; of a file it is a copy, which is upgraded if need be.

    Raises:
        InvalidInput: it is missing, unreadable, truncated, empty, another program's or of a newer
            schema.
    """
    with TemporaryDirectory(prefix="gdn-merge-") as folder:
        try:
            database = _opened(source, Path(folder))
        except ResultsError as error:
            raise InvalidInput(f"{error} Nothing was merged.") from error
        with database:
            yield database


def _opened(source: Source, folder: Path) -> Database:
    if isinstance(source, ResultsUrl):
        return open_database(source, create=False, writable=False)
    if isinstance(source, Excerpt):
        copy = folder / "excerpt.db"
        source.write(copy)
        return open_database(copy, create=False)
    copy = folder / source.name
    if source.suffix == SUFFIX:
        extract_database(source, copy)
    else:
        copy_of(source, copy)
    with named(source, copy):
        _require_sound(source, copy)
        return open_database(copy, create=False)


def copy_of(path: Path, copy: Path) -> None:
    """Write a copy of a database as it is now, also while another process writes to it.

    Raises:
        ResultsError: the file is missing, unreadable, not a results database or of a newer schema.
    """
    if not _copied_at_rest(Path(os.path.realpath(path)), copy):
        copy.unlink(missing_ok=True)
        with read_only(path, instead=INSTEAD) as connection:
            schema_version(connection, path, instead=INSTEAD)
            with closing(sqlite3.connect(copy)) as target:
                connection.backup(target)
    with named(path, copy), read_only(copy, instead=INSTEAD) as connection:
        schema_version(connection, path, instead=INSTEAD)


def _copied_at_rest(real: Path, copy: Path) -> bool:
    """Copy the bytes of a database that nobody has open; False if there is none.

    To open a database in WAL mode creates files next to it, even to read.
    """
    logs = [real.with_name(real.name + suffix) for suffix in ("-wal", "-journal")]
    try:
        before = real.stat()
        if any(log.exists() for log in logs) or not real.is_file():
            return False
        shutil.copyfile(real, copy)
        after = real.stat()
    except OSError:
        return False
    same = (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, after.st_size)
    return same and not any(log.exists() for log in logs)


@contextmanager
def named(path: Path, copy: Path) -> Iterator[None]:
    """Name a file in errors about the private copy or draft of it."""
    try:
        yield
    except ResultsError as error:
        raise ResultsError(str(error).replace(str(copy), str(path))) from error


def _require_sound(path: Path, copy: Path) -> None:
    with read_only(copy, instead=INSTEAD) as connection:
        if schema_version(connection, path) == 0:
            raise ResultsError(f"{path} is empty; {INSTEAD}.")
        connection.execute("PRAGMA ignore_check_constraints = ON")
        _require_tables(connection, path)
        found = [row[0] for row in connection.execute("PRAGMA integrity_check(100000)")]
    faults = [text for text in found if text != "ok" and not ROW_FAULT.match(text)]
    if faults:
        raise ResultsError(
            f"{path} is damaged ({len(faults)} faults, the first: {faults[0]}); copy it again, or "
            "repair it (`sqlite3 FILE .recover` may save rows)."
        )


def _require_tables(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a schema in which reading or upgrading could run what its author wrote."""
    kinds = dict(connection.execute("SELECT name, type FROM sqlite_master"))
    for table in Base.metadata.tables:
        if kinds.get(table) != "table":
            raise ResultsError(f"{path} has no table {table}; {INSTEAD}.")
    if triggers := [name for name, kind in kinds.items() if kind == "trigger"]:
        raise ResultsError(
            f"{path} has the trigger {triggers[0]!r}, and no results database has triggers; "
            f"{INSTEAD}."
        )
