"""A trial that has ended and is not stored yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import uuid4

from gdn_ops.tuner.store.models import utc_now
from gdn_ops.tuner.store.records import Outcome, Trial, TrialKey


@dataclass(frozen=True, kw_only=True)
class NewTrial:
    """A trial to store, whatever its outcome.

    Args:
        sources: hash of each stage's source; a trial without them is never found again by
            ``Store.known_trial``.
        uid: the same in every database that the trial is merged into.
    """

    key: TrialKey
    outcome: Outcome
    run_id: int
    environment_id: int
    variant_id: str | None = None
    sources: Mapping[str, str] | None = None
    uid: str = field(default_factory=lambda: uuid4().hex)
    created: datetime = field(default_factory=utc_now)

    def __post_init__(self) -> None:
        # PostgreSQL stores no NUL in a text
        if "\0" in self.outcome.message:
            message = self.outcome.message.replace("\0", "\N{REPLACEMENT CHARACTER}")
            object.__setattr__(self, "outcome", replace(self.outcome, message=message))

    def values(self) -> dict[str, Any]:
        """The values of its row."""
        key, outcome = self.key, self.outcome
        return {
            "uid": self.uid, "run_id": self.run_id, "environment_id": self.environment_id,
            "target": key.target, "arch": key.arch, "problem_id": key.problem_id,
            "scope": key.scope, "plan": key.plan, "stage": key.stage,
            "interface": dict(key.interface), "config": dict(key.config),
            "config_hash": key.config_hash, "variant_id": self.variant_id,
            "sources": None if self.sources is None else dict(self.sources),
            "status": outcome.status, "median": outcome.median, "low": outcome.low,
            "high": outcome.high, "samples": list(outcome.samples), "method": outcome.method,
            "errors": dict(outcome.errors), "resources": dict(outcome.resources),
            "message": outcome.message, "created": self.created,
        }  # fmt: skip

    def stored(self, trial_id: int) -> Trial:
        """The trial with the number that its row got."""
        return Trial(
            id=trial_id, run_id=self.run_id, environment_id=self.environment_id, key=self.key,
            variant_id=self.variant_id, outcome=self.outcome, created=self.created,
            sources=self.sources,
        )  # fmt: skip
