"""A side that was read from a file: what it says of itself, as a live side does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gdn_ops.tuner.check.baseline_file import Run
from gdn_ops.tuner.check.facts import Described, SideFacts


def stored_facts(run: Run) -> SideFacts:
    """What the side of a run said of itself; it has no device to measure on."""
    return SideFacts(
        device="",
        threads=int(run.environment.get("threads", "1")),
        target=run.target,
        environment=run.environment,
        winners=tuple(row.described.facts for row in run.rows),
    )


def stored_row(run: Run, facts: Mapping[str, Any]) -> Described:
    """What the side of a run ran a problem on."""
    row = run.row(facts)
    return row.described if row else Described(facts=facts, error="its file does not have it")
