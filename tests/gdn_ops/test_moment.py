"""Moments as text."""

from __future__ import annotations

from datetime import datetime, timezone

from gdn_ops.moment import moment_text


def test_moments_are_told_to_the_second() -> None:
    stored = "2026-11-30T12:26:40.631444+00:00"
    moments = (stored, "2026-11-30T12:26:40", datetime(2026, 11, 30, 12, 26, 40, 5, timezone.utc))
    assert {moment_text(moment) for moment in moments} == {"2026-11-30 12:26:40 UTC"}
    assert moment_text("never") == "never"
