"""Report in Bencher Metric Format, for ``bencher run --adapter json``."""

from __future__ import annotations

import json

from gdn_ops.tuner.check.outcome import CheckRow, Outcome
from gdn_ops.tuner.check.reports.head_time import head_time
from gdn_ops.tuner.check.reports.row_text import one_line
from gdn_ops.tuner.check.reports.short_name import short_name, slug

TO_FILE = True
LONGEST_NAME, LONGEST_SLUG = 1024, 64
"""Characters of a benchmark's name and of a measure's slug."""
_PER_SECOND = 1e9
"""Bencher's built-in measure ``latency`` is in nanoseconds."""

Metric = dict[str, float]


def render(outcome: Outcome) -> str:
    """Per row ``latency`` or a measure per figure of a static row; other rows are left out."""
    found: dict[str, dict[str, Metric]] = {}
    for row in outcome.rows:
        measures = _measures(row)
        if measures:
            found[short_name(one_line(f"{row.target} {row.name}"), LONGEST_NAME)] = measures
    return json.dumps(found, indent=1, allow_nan=False) + "\n"


def _measures(row: CheckRow) -> dict[str, Metric]:
    measures = {slug(name, LONGEST_SLUG): {"value": v} for name, v in row.figures.items()}
    time = head_time(row)
    if time is not None:
        measures["latency"] = {
            "value": time.median * _PER_SECOND,
            "lower_value": time.low * _PER_SECOND,
            "upper_value": time.high * _PER_SECOND,
        }
    return measures
