"""The figures of the page, as Plotly's JSON.

A text that begins with ``@`` is a colour of the theme, e.g. ``@1`` for the first series or
``@1/0.2`` for a translucent one; the page's script replaces it by that of the light or dark theme.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import log2
from typing import Any

from gdn_ops.codegen.axis import Value
from gdn_ops.tuner.page.axis_scale import unit_of
from gdn_ops.tuner.page.importance import Importance
from gdn_ops.tuner.page.label import digits, label, rounded
from gdn_ops.tuner.page.searches import Attempt, Search

Figure = dict[str, Any]
Cell = tuple[str, str]
"""A value of the parameter down, and one of the parameter across."""

SERIES = 6
"""Colours of the theme for series."""
COLOUR_LIMIT = 8.0
"""Times over the best one from which on cells of a heat map have the same colour."""


def importances(found: Importance) -> Figure:
    """A bar per parameter, the most important one at the top."""
    shares = dict(list(found.shares.items())[:8])
    names = [*map(label, shares), "together, noise"]
    values = [*shares.values(), found.rest]
    return {
        "data": [
            {
                "type": "bar", "orientation": "h", "y": names,
                "x": [rounded(100 * value) for value in values],
                "marker": {"color": [*["@1"] * len(shares), "@muted/0.5"]},
                "text": [f"{100 * value:.0f} %" for value in values], "textposition": "outside",
                "cliponaxis": False, "hovertemplate": "%{y}: %{x:.1f} %<extra></extra>",
            }
        ],
        "layout": {
            "xaxis": {
                "title": {"text": "share of variance (%)"},
                "range": [0, 115], "tickvals": [0, 25, 50, 75, 100],
            },
            "yaxis": {"type": "category", "autorange": "reversed"},
            "showlegend": False,
        },
    }  # fmt: skip


def heat_map(attempts: Sequence[Attempt], across: str, down: str) -> Figure:
    """The best time for each pair of values of two parameters, over all others."""
    columns = ordered({a.parameters[across] for a in attempts if across in a.parameters})
    rows = ordered({a.parameters[down] for a in attempts if down in a.parameters})
    best: dict[Cell, float] = {}
    failed: set[Cell] = set()
    for attempt in attempts:
        cell = repr(attempt.parameters.get(down)), repr(attempt.parameters.get(across))
        if attempt.seconds is not None:
            best[cell] = min(attempt.seconds, best.get(cell, attempt.seconds))
        elif attempt.status != "ok":
            failed.add(cell)
    failed -= best.keys()
    fastest = min(best.values(), default=1.0)
    unit, factor = unit_of(fastest)
    cells = [[(repr(row), repr(column)) for column in columns] for row in rows]
    return {
        "data": [
            {
                "type": "heatmap",
                "x": [label(value, 24) for value in columns],
                "y": [label(value, 24) for value in rows],
                "z": [
                    [rounded(log2(best[cell] / fastest)) if cell in best else None for cell in line]
                    for line in cells
                ],
                "text": [
                    [digits(best[cell] * factor) if cell in best else "" for cell in line]
                    for line in cells
                ],
                "texttemplate": "%{text}", "textfont": {"size": 11},
                "hovertemplate": f"%{{y}}, %{{x}}: %{{text}} {unit}<extra></extra>",
                "hoverongaps": False,
                "colorscale": "@scale", "zmin": 0, "zmax": log2(COLOUR_LIMIT), "xgap": 1, "ygap": 1,
                "colorbar": {
                    "title": {"text": "time over the best", "side": "right"},
                    "tickvals": [0, 1, 2, 3], "ticktext": ["1×", "2×", "4×", "≥ 8×"],
                    "thickness": 10, "outlinewidth": 0,
                },
            },
            {
                "type": "heatmap",
                "x": [label(value, 24) for value in columns],
                "y": [label(value, 24) for value in rows],
                "z": [[0 if cell in failed else None for cell in line] for line in cells],
                "text": [["failed" if cell in failed else "" for cell in line] for line in cells],
                "texttemplate": "%{text}", "textfont": {"size": 10, "color": "@muted"},
                "hovertemplate": "%{y}, %{x}: every trial failed<extra></extra>",
                "hoverongaps": False, "showscale": False, "xgap": 1, "ygap": 1,
                "zmin": 0, "zmax": 1,
                "colorscale": [[0, "@muted/0.15"], [1, "@muted/0.15"]],
            },
        ],
        "layout": {
            "xaxis": {"type": "category", "title": {"text": label(across)}, "showgrid": False},
            "yaxis": {"type": "category", "title": {"text": label(down)}, "showgrid": False},
            "note": unit,
        },
    }  # fmt: skip


def failures(searches: Sequence[Search]) -> Figure:
    """Failed trials by plan and stage; a colour per cause."""
    rows: dict[str, Counter[str]] = {}
    for search in searches:
        name = label(search.name, 48)
        counts = rows.setdefault(name, Counter())
        counts.update(a.status for a in search.attempts if a.status != "ok")
    shown = sorted((n for n, c in rows.items() if c), key=lambda n: -rows[n].total())[:20]
    causes = [cause for cause, _ in sum(rows.values(), Counter()).most_common()]
    return {
        "data": [
            {
                "type": "bar", "orientation": "h", "name": label(cause), "y": shown,
                "x": [rows[name][cause] for name in shown],
                "marker": {"color": f"@{1 + (i + 1) % SERIES}"},
                "hovertemplate": "%{y}: %{x}<extra>%{fullData.name}</extra>",
            }
            for i, cause in enumerate(causes)
        ],
        "layout": {
            "barmode": "stack",
            "legend": {"traceorder": "normal"},
            "xaxis": {"title": {"text": "failed trials"}, "rangemode": "tozero"},
            "yaxis": {"type": "category", "autorange": "reversed"},
            "showlegend": True,
            "rows": len(shown),
        },
    }  # fmt: skip


def speed_ups(names: Sequence[str], values: Sequence[float], pale: Sequence[bool]) -> Figure:
    """A bar per winner: how many times as fast as the reference; some are pale."""
    return {
        "data": [
            {
                "type": "bar", "orientation": "h", "y": [label(name, 60) for name in names],
                "x": [rounded(value) for value in values],
                "marker": {
                    "color": [
                        f"@{1 if value >= 1 else 2}{'/0.45' if light else ''}"
                        for value, light in zip(values, pale, strict=True)
                    ]
                },
                "text": [f"{value:.2f}×" for value in values], "textposition": "outside",
                "cliponaxis": False, "hovertemplate": "%{y}: %{x:.2f}×<extra></extra>",
            }
        ],
        "layout": {
            "xaxis": {
                "title": {"text": "speed-up over the reference (×)"}, "rangemode": "tozero",
                "range": [0, 1.12 * max(values, default=1.0)],
            },
            "yaxis": {"type": "category", "autorange": "reversed"},
            "shapes": [
                {
                    "type": "line", "x0": 1, "x1": 1, "yref": "paper", "y0": 0, "y1": 1,
                    "line": {"color": "@muted", "width": 1, "dash": "dot"},
                }
            ],
            "showlegend": False,
            "rows": len(names),
        },
    }  # fmt: skip


def ordered(values: set[Value]) -> list[Value]:
    """Values of one parameter, numbers by size and others by name."""
    return sorted(values, key=lambda v: (type(v) is not int, v if type(v) is int else 0, str(v)))
