"""Report for github-action-benchmark, tool ``customSmallerIsBetter``: a JSON list of figures.

Set ``alert-threshold`` to about 105 %: by default the action alerts at twice the previous value.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from gdn_ops.tuner.check.outcome import CheckRow, Outcome
from gdn_ops.tuner.check.reports.head_time import head_time
from gdn_ops.tuner.check.reports.row_text import one_line, sentence

TO_FILE = True
_UNIT, _PER_SECOND = "us", 1e6
"""One unit for all times, because the action compares bare numbers of two runs."""


def render(outcome: Outcome) -> str:
    """Times of the head in microseconds and figures of static rows; other rows are left out."""
    found = [entry for row in outcome.rows for entry in _entries(row)]
    return json.dumps(found, indent=1, allow_nan=False) + "\n"


def _entries(row: CheckRow) -> Iterator[dict[str, object]]:
    name = one_line(f"{row.target} {row.name}")
    time = head_time(row)
    if time is not None:
        spread = 50 * (time.high - time.low) / time.median
        yield {
            "name": name,
            "unit": _UNIT,
            "value": time.median * _PER_SECOND,
            "range": f"± {spread:.1f} %",
            "extra": sentence(row),
        }
    for figure, value in row.figures.items():
        yield {"name": f"{name} {one_line(figure)}", "unit": one_line(figure), "value": value}
