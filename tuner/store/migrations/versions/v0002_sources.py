"""Trials say what their stages were rendered to, and that a fault was the environment's.

Older trials keep no source, so nothing that is looked up by it is found among them; the hash of all
templates stays in the environments that have one.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

WINNERS = """
CREATE VIEW winners AS
SELECT
    w.problem_id, p.facts, w.target, w.arch, w.variant_id, w.variant,
    w.median, w.low, w.high, w.reference, w.reference / w.median AS speedup,
    w.provenance, w.trial_id, t.sources,
    e.device, e.torch, e.triton, w.created
FROM winner_rows AS w
JOIN problems AS p ON p.id = w.problem_id
LEFT JOIN environments AS e ON e.id = w.environment_id
LEFT JOIN trials AS t ON t.id = w.trial_id
WHERE w.superseded IS NULL
"""
STATUSES = (
    "status IN ('ok', 'invalid', 'compile-error', 'spill', 'wrong', 'nondeterministic', 'oom', "
    "'timeout', 'crash', 'fault')"
)


def upgrade() -> None:
    # a table that is rebuilt has no name for a moment, and a view on it would be an error
    op.execute("DROP VIEW winners")
    with op.batch_alter_table("environments") as environments:
        environments.alter_column("template_hash", existing_type=sa.String(), nullable=True)
    with op.batch_alter_table("trials") as trials:
        trials.add_column(sa.Column("sources", sa.JSON))
        trials.drop_constraint("ck_trials_status", type_="check")
        trials.create_check_constraint("ck_trials_status", STATUSES)
    op.execute(WINNERS)
