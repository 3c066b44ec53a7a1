"""Environments say which ptxas compiled; the view says it and the driver.

It is unknown for environments from before, which keep their hash.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

WINNERS = """
CREATE VIEW winners AS
SELECT
    w.problem_id, p.facts, w.target, w.arch, w.variant_id, w.variant,
    w.median, w.low, w.high, w.reference, w.reference / w.median AS speedup,
    w.provenance, w.trial_id, t.sources,
    e.device, e.driver, e.torch, e.triton, e.ptxas, w.created
FROM winner_rows AS w
JOIN problems AS p ON p.id = w.problem_id
LEFT JOIN environments AS e ON e.id = w.environment_id
LEFT JOIN trials AS t ON t.id = w.trial_id
WHERE w.superseded IS NULL
"""


def upgrade() -> None:
    op.execute("DROP VIEW winners")
    op.add_column("environments", sa.Column("ptxas", sa.String(), nullable=True))
    op.execute(WINNERS)
