"""What is said of an export: its winners by target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gdn_ops.tuner.export.description import Description
from gdn_ops.tuner.report.counted import counted


def summary(descriptions: Sequence[Description], files: Mapping[str, bytes]) -> list[str]:
    """A line per target with its winners, for formats that leave none out; see ``Format``."""
    return [winner_line(description) for description in descriptions]


def winner_line(description: Description) -> str:
    """The number of winners of a target, e.g. ``h200: 2 winners (1 predicted, 1 stale)``."""
    winners = description.winners
    predicted = sum(w.winner.provenance == "predicted" for w in winners)
    stale = sum(w.stale for w in winners)
    notes = [f"{n} {word}" for n, word in ((predicted, "predicted"), (stale, "stale")) if n]
    marks = f" ({', '.join(notes)})" if notes else ""
    return f"{description.target.name}: {counted(len(winners), 'winner')}{marks}"
