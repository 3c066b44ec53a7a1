"""The winners of a library as a small database, which only has what dispatch reads."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from gdn_ops.dispatch.results_file import APPLICATION_ID, SCHEMA_VERSION
from gdn_ops.dispatch.winners import COLUMNS
from gdn_ops.tuner.export.description import Description, ExportedWinner
from gdn_ops.tuner.store.models import canonical_json

_COLUMNS = (*COLUMNS, "sources")


def winners_table(description: Description) -> bytes:
    """Return an SQLite file with one table, ``winners``, in place of the view of that name."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "results.db"
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA page_size = 4096")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            connection.execute("BEGIN")
            connection.execute(f"CREATE TABLE winners ({', '.join(_COLUMNS)})")
            places = ", ".join("?" for _ in _COLUMNS)
            rows = [_row(winner) for winner in description.winners]
            connection.executemany(f"INSERT INTO winners VALUES ({places})", rows)
            connection.execute("COMMIT")
        return path.read_bytes()


def _row(exported: ExportedWinner) -> list[object]:
    winner, problem, variant = exported.winner, exported.problem, exported.variant
    checked = {
        "problem_id": problem.id(),
        "facts": canonical_json(problem.facts()),
        "variant_id": variant.id,
        "variant": canonical_json(variant.to_json()),
        "sources": None if winner.sources is None else canonical_json(winner.sources),
    }
    return [checked[c] if c in checked else getattr(winner, c) for c in _COLUMNS]
