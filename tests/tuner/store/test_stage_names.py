"""Stages that were renamed: stored rows are upgraded, and nothing else of them changes."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from gdn_ops.codegen.variant import Variant
from gdn_ops.tuner.store.db import open_database
from gdn_ops.tuner.store.store import Store
from tests.first_schema import at_revision
from tests.problems import FORWARD

PROBLEM = FORWARD.bucket()
GRADIENTS = {**PROBLEM.backward(final_state=False).facts(), "gate": "vector"}
VARIANT = Variant.of("split", PROBLEM, {"BT": 32}, {"chunk_h": {"num_warps": 8}})
OLD = {
    "chunk_h": "state", "chunk_o": "output", "chunk_wu": "wu", "torch_backward_vector":
    "torch_backward",
}  # fmt: skip
WHEN = "2025-01-01T00:00:00.000000+00:00"


def as_before(by_stage: dict[str, Any]) -> str:
    return json.dumps({OLD.get(stage, stage): value for stage, value in by_stage.items()})


def trial(number: int, **facts: Any) -> dict[str, Any]:
    return {
        "id": number, "uid": f"trial {number}", "run_id": 1, "environment_id": 1, "target": "h200",
        "arch": "sm_90", "problem_id": PROBLEM.id(), "scope": "plan", "plan": "split",
        "interface": "{}", "config": "{}", "config_hash": "old", "status": "ok", "median": 2e-3,
        "low": 1e-3, "high": 3e-3, "samples": "[0.002]", "errors": "{}", "resources": "{}",
        "message": "", "created": WHEN, **facts,
    }  # fmt: skip


def second_schema(path: Path) -> Path:
    """A database of schema 2: trials of a stage and of plans, a damaged row, a winner."""
    at_revision(path, "0002")
    stages = {name: dict(config) for name, config in VARIANT.stages}
    variant = {**VARIANT.to_json(), "stages": json.loads(as_before(stages))}
    rows: list[tuple[str, dict[str, Any]]] = [
        ("environments", {
            "id": 1, "hash": "e", "device": "Old GPU", "arch": "sm_90", "torch": "2.11.0",
            "python": "3.11.7", "platform": "Linux", "threads": 2, "harness_version": 1,
        }),
        ("problems", {"id": PROBLEM.id(), "facts": json.dumps(PROBLEM.facts())}),
        ("problems", {"id": "gradients", "facts": json.dumps(GRADIENTS)}),
        ("runs", {
            "id": 1, "uid": "run", "workload": "w", "target": "h200", "seed": 0, "options": "{}",
            "status": "finished", "started": WHEN, "finished": WHEN,
        }),
        ("trials", trial(1, scope="stage", stage="state", interface='{"BT": 32}',
                         config='{"num_warps": 8}', sources='{"state": "abc"}')),
        ("trials", trial(2, interface='{"BT": 32}', config=as_before(stages))),
        ("trials", trial(3, problem_id="gradients", plan="torch",
                         config='{"torch_backward": {"BT": 32}}')),
        ("trials", trial(4, config="{damaged")),
        ("winner_rows", {
            "id": 1, "uid": "winner", "problem_id": PROBLEM.id(), "target": "h200",
            "arch": "sm_90", "variant_id": "split-old", "variant": json.dumps(variant),
            "median": 2e-3, "low": 1e-3, "high": 3e-3, "reference": 6e-3,
            "provenance": "measured", "trial_id": 2, "environment_id": 1, "created": WHEN,
        }),
    ]  # fmt: skip
    with closing(sqlite3.connect(path)) as connection, connection:
        for table, row in rows:
            marks = ", ".join("?" * len(row))
            query = f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})"
            connection.execute(query, tuple(row.values()))
    return path


def test_stored_rows_take_the_new_names(tmp_path: Path) -> None:
    path = second_schema(tmp_path / "results.db")
    with open_database(path, create=False) as database:
        store = Store(database, warn=lambda text: None)
        trials = {t.id: t for t in store.trials()}
        winner = store.winner(PROBLEM.id(), "h200")
    assert trials[1].key.stage == "chunk_h" and trials[1].sources == {"chunk_h": "abc"}
    assert set(trials[2].key.config) == {name for name, _ in VARIANT.stages}
    assert set(trials[3].key.config) == {"torch_backward_vector"}
    assert winner is not None and winner.variant_id == VARIANT.id
    assert Variant.from_json(winner.variant, PROBLEM) == VARIANT
    with closing(sqlite3.connect(path)) as connection:
        query = "SELECT id, config_hash, median FROM trials"
        stored = {row[0]: row[1:] for row in connection.execute(query)}
        damaged = connection.execute("SELECT config FROM trials WHERE id = 4").fetchone()
    assert stored[4] == ("old", 2e-3) and damaged == ("{damaged",)
    for number in (1, 2, 3):
        assert stored[number] == (trials[number].key.config_hash, 2e-3)
