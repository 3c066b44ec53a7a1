"""Moments as text."""

from __future__ import annotations

from datetime import datetime


def moment_text(moment: datetime | str) -> str:
    """Return a moment to the second, e.g. ``2026-11-30 12:26:40 UTC``.

    Args:
        moment: in UTC; as text in ISO 8601, as databases have it, or any other text.
    """
    text = moment if isinstance(moment, str) else moment.isoformat()
    day, separator, time = text.partition("T")
    return f"{day} {time[:8]} UTC" if separator else text
