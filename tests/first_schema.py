"""A results database as the first schema kept it, with a winner and the trial that made it."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from alembic import command
from sqlalchemy import NullPool

from gdn_ops.tuner.store import db, migrations
from tests.problems import FORWARD

HASH = "0123456789abcdef"
WHEN = "2025-01-01T00:00:00.000000+00:00"


def at_revision(path: Path, revision: str) -> None:
    """An empty database as the gdn-ops left it that had this revision as its last one."""
    engine = db._engine(path, db._connector(path), NullPool)
    with engine.begin() as connection:
        command.upgrade(migrations.configuration(connection), revision)
        connection.exec_driver_sql(f"PRAGMA user_version = {int(revision)}")


def first_schema(path: Path) -> Path:
    """A database of the first schema that a run was interrupted on."""
    at_revision(path, "0001")
    bucket = FORWARD.bucket()
    rows: list[tuple[str, dict[str, object]]] = [
        (
            "environments",
            {
                "id": 1, "hash": HASH, "device": "Old GPU", "arch": "sm_90", "torch": "2.11.0",
                "python": "3.11.7", "platform": "Linux", "threads": 2, "template_hash": "abc",
                "harness_version": 1,
            },
        ),
        ("problems", {"id": bucket.id(), "facts": json.dumps(bucket.facts())}),
        (
            "runs",
            {
                "id": 1, "uid": "run", "workload": "quickstart", "target": "h200", "seed": 0,
                "options": "{}", "status": "interrupted", "started": WHEN, "finished": WHEN,
            },
        ),
        (
            "trials",
            {
                "id": 1, "uid": "trial", "run_id": 1, "environment_id": 1, "target": "h200",
                "arch": "sm_90", "problem_id": bucket.id(), "scope": "plan", "plan": "torch",
                "interface": "{}", "config": "{}", "config_hash": HASH, "variant_id": "torch-1",
                "status": "ok", "median": 2e-3, "low": 1e-3, "high": 3e-3, "samples": "[0.002]",
                "errors": "{}", "resources": "{}", "message": "", "created": WHEN,
            },
        ),
        (
            "winner_rows",
            {
                "id": 1, "uid": "winner", "problem_id": bucket.id(), "target": "h200",
                "arch": "sm_90", "variant_id": "torch-1", "variant": '{"plan": "torch"}',
                "median": 2e-3, "low": 1e-3, "high": 3e-3, "reference": 6e-3,
                "provenance": "measured", "trial_id": 1, "environment_id": 1, "created": WHEN,
            },
        ),
    ]  # fmt: skip
    with closing(sqlite3.connect(path)) as connection, connection:
        for table, row in rows:
            marks = ", ".join("?" * len(row))
            query = f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})"
            connection.execute(query, tuple(row.values()))
    return path
