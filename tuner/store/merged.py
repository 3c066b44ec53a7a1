"""What a merge did: the rows it added, and what became of each winner."""

from __future__ import annotations

from dataclasses import dataclass

from gdn_ops.tuner.store.merge_source import Source
from gdn_ops.tuner.store.row_copier import RefusedRow

TAKEN, KEPT, REFUSED, WITHDRAWN = OUTCOMES = ("taken", "kept", "refused", "withdrawn")
"""What became of a winner: it is the current one now; the stored one stays; it cannot be used; the
stored one was superseded in a source and is no longer current."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of one current winner of a source, and why.

    Args:
        winner: its variant as text.
        median: seconds; None if the row is malformed.
        fresh: whether its kernels still have the source that was measured.
    """

    source: Source
    target: str
    problem_id: str
    winner: str
    median: float | None
    outcome: str
    why: str
    fresh: bool = True


@dataclass(frozen=True, kw_only=True)
class Merged:
    """What a merge did.

    Args:
        added: new rows by table.
        verdicts: one per current winner of each source, ordered by target and problem.
        refused: rows that are no winners and were not copied.
    """

    added: dict[str, int]
    verdicts: tuple[Verdict, ...]
    refused: tuple[RefusedRow, ...]

    def count(self, outcome: str) -> int:
        """How many winners had an outcome."""
        return sum(verdict.outcome == outcome for verdict in self.verdicts)
