"""Alembic's entry point: runs the revisions in the transaction that ``upgrade`` has started."""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
