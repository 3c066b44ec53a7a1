"""The first schema: environments, problems, runs, trials, winners and the view on them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gdn_ops.dispatch.results_file import APPLICATION_ID

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

WINNERS = """
CREATE VIEW winners AS
SELECT
    w.problem_id, p.facts, w.target, w.arch, w.variant_id, w.variant,
    w.median, w.low, w.high, w.reference, w.reference / w.median AS speedup,
    w.provenance, w.trial_id,
    e.device, e.torch, e.triton, e.template_hash, w.created
FROM winner_rows AS w
JOIN problems AS p ON p.id = w.problem_id
LEFT JOIN environments AS e ON e.id = w.environment_id
WHERE w.superseded IS NULL
"""


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    _create_contexts()
    _create_trials()
    _create_winners()
    op.execute(WINNERS)


def _create_contexts() -> None:
    op.create_table(
        "environments",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("hash", sa.String, nullable=False),
        sa.Column("device", sa.String, nullable=False),
        sa.Column("arch", sa.String, nullable=False),
        sa.Column("driver", sa.String),
        sa.Column("torch", sa.String, nullable=False),
        sa.Column("triton", sa.String),
        sa.Column("python", sa.String, nullable=False),
        sa.Column("platform", sa.String, nullable=False),
        sa.Column("threads", sa.Integer, nullable=False),
        sa.Column("template_hash", sa.String, nullable=False),
        sa.Column("harness_version", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_environments"),
        sa.UniqueConstraint("hash", name="uq_environments_hash"),
    )
    op.create_table(
        "problems",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("facts", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_problems"),
    )
    op.create_table(
        "runs",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("uid", sa.String, nullable=False),
        sa.Column("workload", sa.String, nullable=False),
        sa.Column("target", sa.String, nullable=False),
        # a seed has 32 bits without a sign, which SQLite's integers hold
        sa.Column("seed", sa.Integer().with_variant(sa.BigInteger(), "postgresql"), nullable=False),
        sa.Column("options", sa.JSON, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("started", sa.String, nullable=False),
        sa.Column("finished", sa.String),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
        sa.UniqueConstraint("uid", name="uq_runs_uid"),
        sa.CheckConstraint(
            "status IN ('running', 'finished', 'interrupted')", name="ck_runs_status"
        ),
    )


def _create_trials() -> None:
    op.create_table(
        "trials",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("uid", sa.String, nullable=False),
        sa.Column("run_id", sa.Integer, nullable=False),
        sa.Column("environment_id", sa.Integer, nullable=False),
        sa.Column("target", sa.String, nullable=False),
        sa.Column("arch", sa.String, nullable=False),
        sa.Column("problem_id", sa.String, nullable=False),
        sa.Column("scope", sa.String, nullable=False),
        sa.Column("plan", sa.String, nullable=False),
        sa.Column("stage", sa.String),
        sa.Column("interface", sa.JSON, nullable=False),
        sa.Column("config", sa.JSON, nullable=False),
        sa.Column("config_hash", sa.String, nullable=False),
        sa.Column("variant_id", sa.String),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("median", sa.Double),
        sa.Column("low", sa.Double),
        sa.Column("high", sa.Double),
        sa.Column("samples", sa.JSON, nullable=False),
        sa.Column("method", sa.String),
        sa.Column("errors", sa.JSON, nullable=False),
        sa.Column("resources", sa.JSON, nullable=False),
        sa.Column("message", sa.String, nullable=False),
        sa.Column("created", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_trials"),
        sa.UniqueConstraint("uid", name="uq_trials_uid"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_trials_run_id"),
        sa.ForeignKeyConstraint(
            ["environment_id"], ["environments.id"], name="fk_trials_environment_id"
        ),
        sa.ForeignKeyConstraint(["problem_id"], ["problems.id"], name="fk_trials_problem_id"),
        sa.CheckConstraint("scope IN ('stage', 'plan')", name="ck_trials_scope"),
        sa.CheckConstraint(
            "status IN ('ok', 'invalid', 'compile-error', 'spill', 'wrong', "
            "'nondeterministic', 'oom', 'timeout', 'crash')",
            name="ck_trials_status",
        ),
        sa.CheckConstraint("(scope = 'stage') = (stage IS NOT NULL)", name="ck_trials_stage"),
        sa.CheckConstraint("status <> 'ok' OR median > 0", name="ck_trials_timed"),
    )
    op.create_index("ix_trials_run_id", "trials", ["run_id"])
    op.create_index(
        "ix_trials_config_hash_environment_id", "trials", ["config_hash", "environment_id"]
    )
    op.create_index("ix_trials_target_problem_id", "trials", ["target", "problem_id"])


def _create_winners() -> None:
    op.create_table(
        "winner_rows",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("uid", sa.String, nullable=False),
        sa.Column("problem_id", sa.String, nullable=False),
        sa.Column("target", sa.String, nullable=False),
        sa.Column("arch", sa.String, nullable=False),
        sa.Column("variant_id", sa.String, nullable=False),
        sa.Column("variant", sa.JSON, nullable=False),
        sa.Column("median", sa.Double, nullable=False),
        sa.Column("low", sa.Double, nullable=False),
        sa.Column("high", sa.Double, nullable=False),
        sa.Column("reference", sa.Double),
        sa.Column("provenance", sa.String, nullable=False),
        sa.Column("trial_id", sa.Integer),
        sa.Column("environment_id", sa.Integer),
        sa.Column("created", sa.String, nullable=False),
        sa.Column("superseded", sa.String),
        sa.PrimaryKeyConstraint("id", name="pk_winner_rows"),
        sa.UniqueConstraint("uid", name="uq_winner_rows_uid"),
        sa.ForeignKeyConstraint(["problem_id"], ["problems.id"], name="fk_winner_rows_problem_id"),
        sa.ForeignKeyConstraint(["trial_id"], ["trials.id"], name="fk_winner_rows_trial_id"),
        sa.ForeignKeyConstraint(
            ["environment_id"], ["environments.id"], name="fk_winner_rows_environment_id"
        ),
        sa.CheckConstraint(
            "provenance IN ('measured', 'predicted')", name="ck_winner_rows_provenance"
        ),
        sa.CheckConstraint(
            "median > 0 AND low > 0 AND high > 0 AND reference > 0", name="ck_winner_rows_seconds"
        ),
        sa.CheckConstraint(
            "provenance = 'predicted' OR "
            "(trial_id IS NOT NULL AND environment_id IS NOT NULL AND reference IS NOT NULL)",
            name="ck_winner_rows_measured",
        ),
    )
    op.create_index(
        "uq_winner_rows_current",
        "winner_rows",
        ["problem_id", "target"],
        unique=True,
        sqlite_where=sa.text("superseded IS NULL"),
        postgresql_where=sa.text("superseded IS NULL"),
    )
