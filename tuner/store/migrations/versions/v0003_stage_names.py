"""Stages have the names of flash-linear-attention's steps; stored rows follow.

Configs and measurements stay as they are. Rows that do not parse are left alone: readers skip them
by name. The hashes of sources are left, too: they are of files with the old names, so what was
measured with them counts as measured with another source.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

RENAMED = {
    "state": "chunk_h",
    "states": "chunk_h_only",
    "output": "chunk_o",
    "wu": "chunk_wu",
    "pairs": "chunk_scores",
    "dlocal": "bwd_dv_local",
    "dstate": "bwd_dh",
    "grads": "bwd_dqkvg",
    "dgate": "bwd_gate",
    "total": "bwd_total",
    "reverse": "bwd_scan",
    "walk_dqk": "recurrent_bwd_dqk",
    "walk_dv": "recurrent_bwd_dv",
    "walk_total": "recurrent_bwd_total",
    "walk_v_old": "recurrent_bwd_v_old",
    "chain": "segment_carry",
    "transition": "segment_map",
    "growth": "segment_bound",
    "dchain": "segment_bwd_carry",
    "dtransition": "segment_bwd_map",
    "segment_reverse": "segment_bwd_scan",
    "segment_states": "segment_chunk_h",
}
BATCH = 10_000
TRIALS = sa.text(
    "SELECT id, target, problem_id, scope, plan, stage, interface, config, sources FROM trials "
    "WHERE id > :after ORDER BY id LIMIT :batch"
)
CHANGE_TRIAL = sa.text(
    "UPDATE trials SET stage = :stage, config = :config, sources = :sources, "
    "config_hash = :config_hash WHERE id = :id"
)
CHANGE_WINNER = sa.text(
    "UPDATE winner_rows SET variant = :variant, variant_id = :variant_id WHERE id = :id"
)


def upgrade() -> None:
    connection = op.get_bind()
    facts = {row.id: _parsed(row.facts) for row in connection.execute(sa.text(
        "SELECT id, facts FROM problems"))}  # fmt: skip
    after = 0
    while rows := connection.execute(TRIALS, {"after": after, "batch": BATCH}).all():
        after = rows[-1].id
        changes = [_trial(row, facts.get(row.problem_id) or {}) for row in rows]
        for change in filter(None, changes):
            connection.execute(CHANGE_TRIAL, change)
    winners = connection.execute(sa.text("SELECT id, problem_id, variant FROM winner_rows")).all()
    for row in winners:
        variant = _parsed(row.variant)
        if variant is None or not isinstance(variant.get("stages"), dict):
            continue
        renamed = _keys(variant["stages"], facts.get(row.problem_id) or {})
        if renamed != variant["stages"]:
            variant = {**variant, "stages": renamed}
            text = json.dumps(variant, sort_keys=True)
            name = f"{variant.get('plan')}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
            change = {"id": row.id, "variant": json.dumps(variant), "variant_id": name}
            connection.execute(CHANGE_WINNER, change)


def _trial(row: Any, facts: dict[str, Any]) -> dict[str, Any] | None:
    """The new values of a trial's row; None where it names no stage that was renamed."""
    interface, config = _parsed(row.interface), _parsed(row.config)
    if interface is None or config is None:
        return None
    sources = _parsed(row.sources)
    stage = row.stage and _name(row.stage, facts)
    renamed = _keys(config, facts) if row.scope == "plan" else config
    renamed_sources = None if sources is None else _keys(sources, facts)
    if (stage, renamed, renamed_sources) == (row.stage, config, sources):
        return None
    what = (row.target, row.problem_id, row.scope, row.plan, stage, interface, renamed)
    text = json.dumps(what, sort_keys=True, separators=(",", ":"))
    return {
        "id": row.id,
        "stage": stage,
        "config": json.dumps(renamed),
        "sources": row.sources if sources is None else json.dumps(renamed_sources),
        "config_hash": hashlib.sha256(text.encode()).hexdigest()[:32],
    }


def _name(stage: str, facts: dict[str, Any]) -> str:
    """The new name of a stage of a problem with these facts."""
    if stage in ("torch_chunk", "torch_backward") and facts.get("gate") == "vector":
        return f"{stage}_vector"
    if stage == "torch_backward" and facts.get("delta") is False:
        return "torch_backward_linear"
    if stage == "torch_recurrent" and facts.get("op") == "decode" and not facts.get("varlen"):
        return "torch_decode"
    return RENAMED.get(stage, stage)


def _keys(by_stage: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
    return {_name(stage, facts): value for stage, value in by_stage.items()}


def _parsed(text: str | None) -> dict[str, Any] | None:
    """A JSON object; None for anything else."""
    try:
        value = json.loads(text or "null")
    except (ValueError, RecursionError, TypeError):
        return None
    return value if isinstance(value, dict) else None
