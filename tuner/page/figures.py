"""The figures of the page, as Plotly's JSON.

A text that begins with ``@`` is a colour of the theme, e.g. ``@1`` for the first series or
``@1/0.2`` for a translucent one; the page's script replaces it by that of the light or dark theme.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from math import ceil, floor, log2, log10
from typing import Any

from gdn_ops.codegen.axis import Value
from gdn_ops.seconds import seconds_text
from gdn_ops.tuner.page.importance import Importance
from gdn_ops.tuner.page.label import label, rounded
from gdn_ops.tuner.page.searches import Attempt, Search

Figure = dict[str, Any]
Best = list[tuple[int, Attempt]]
"""The attempts that were the fastest so far, each with its number in the search."""
Cell = tuple[str, str]
"""A value of the parameter down, and one of the parameter across."""

POINTS = 400
"""Most attempts of a search that are drawn one by one."""
SERIES = 6
"""Colours of the theme for series."""
LINEAR_LIMIT = 4.0
"""Ratio of the longest to the shortest time of a figure up to which its axis is linear."""
COLOUR_LIMIT = 8.0
"""Times over the best one from which on cells of a heat map have the same colour."""


def best_so_far(attempts: Sequence[Attempt]) -> Best:
    """Each attempt that was faster than all before it; numbers start at 1."""
    found: Best = []
    for number, attempt in enumerate(attempts, start=1):
        if attempt.seconds is not None and (
            not found or attempt.seconds < (found[-1][1].seconds or 0.0)
        ):
            found.append((number, attempt))
    return found


def progress(searches: Sequence[Search], *, reference: float | None = None) -> Figure:
    """The best time so far by trial, with its 95 % interval; one line per search."""
    timed = [s for s in searches if s.best is not None]
    unit, factor = _unit(min((s.best.seconds or 1.0 for s in timed if s.best), default=1e-3))
    traces: list[Figure] = []
    several = len(searches) > 1
    for i, search in enumerate(searches):
        colour = f"@{1 + i % SERIES}"
        dash = ("solid", "dash", "dot")[i // SERIES % 3]
        traces += _lines(search, colour, dash, factor, dots=not several)
    length = max((len(s.attempts) for s in searches), default=1)
    if reference is not None:
        traces.append(
            {
                "type": "scatter", "mode": "lines", "name": "reference",
                "x": [1, max(2, length)], "y": [rounded(reference * factor)] * 2,
                "line": {"color": "@muted", "dash": "dot", "width": 1.5},
                "hovertemplate": f"reference %{{y:.3g}} {unit}<extra></extra>",
            }
        )  # fmt: skip
    return {
        "data": traces,
        "layout": {
            "xaxis": {
                "title": {"text": "trial"},
                "rangemode": "tozero",
                **({"dtick": 1} if length <= 12 else {}),
            },
            "yaxis": {
                "title": {"text": f"time ({unit})"},
                **scale([y for trace in traces for y in trace["y"] if y]),
            },
            "hovermode": "closest",
            "showlegend": True,
        },
    }


def scale(values: Sequence[float]) -> Figure:
    """A logarithmic axis for values that differ much, with ticks like 1, 2, 5, 10."""
    if not values or max(values) / min(values) <= LINEAR_LIMIT:
        return {"type": "linear"}
    decades = range(floor(log10(min(values))), ceil(log10(max(values))) + 1)
    steps = (1, 2, 5) if len(decades) < 5 else (1,)
    ticks = [float(f"{step}e{decade}") for decade in decades for step in steps]
    return {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}


def _lines(
    search: Search, colour: str, dash: str, factor: float, *, dots: bool
) -> Iterator[Figure]:
    name = label(search.plan)
    best, length = best_so_far(search.attempts), len(search.attempts)
    if not best:
        return
    steps = [*best, (length, best[-1][1])] if best[-1][0] < length else best
    x = [number for number, _ in steps]

    def times(read: Any) -> list[float | None]:
        return [rounded(factor * read(attempt)) for _, attempt in steps]

    common = {"type": "scatter", "x": x, "legendgroup": name}
    hidden = {"mode": "lines", "line": {"width": 0, "shape": "hv"}, "hoverinfo": "skip"}
    yield {**common, **hidden, "y": times(lambda a: a.low or a.seconds), "showlegend": False}
    yield {
        **common, **hidden, "y": times(lambda a: a.high or a.seconds), "fill": "tonexty",
        "fillcolor": f"{colour}/0.22", "name": "95 % interval", "showlegend": dots,
    }  # fmt: skip
    if dots:
        yield _dots(search.attempts, colour, factor)
    yield {
        **common, "mode": "lines+markers", "y": times(lambda a: a.seconds),
        "name": "best so far" if dots else name,
        "line": {"color": colour, "width": 2, "shape": "hv", "dash": dash}, "marker": {"size": 5},
        "text": [_described(attempt) for _, attempt in steps],
        "hovertemplate": "trial %{x}: %{text}<extra></extra>",
    }  # fmt: skip


def _dots(attempts: Sequence[Attempt], colour: str, factor: float) -> Figure:
    """The attempts one by one; of many of them evenly spaced ones."""
    timed = [(n, a) for n, a in enumerate(attempts, start=1) if a.seconds is not None]
    every = -(-len(timed) // POINTS) or 1
    drawn = timed[::every]
    return {
        "type": "scatter", "mode": "markers", "name": "trials",
        "x": [n for n, _ in drawn], "y": [rounded((a.seconds or 0.0) * factor) for _, a in drawn],
        "marker": {"color": f"{colour}/0.6", "size": 4},
        "hovertemplate": "trial %{x}: %{y:.3g}<extra></extra>",
    }  # fmt: skip


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
    unit, factor = _unit(fastest)
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
                    [f"{best[cell] * factor:.3g}" if cell in best else "" for cell in line]
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


def speed_ups(names: Sequence[str], values: Sequence[float]) -> Figure:
    """A bar per winner: how many times as fast as the reference."""
    return {
        "data": [
            {
                "type": "bar", "orientation": "h", "y": [label(name, 60) for name in names],
                "x": [rounded(value) for value in values],
                "marker": {"color": ["@1" if value >= 1 else "@2" for value in values]},
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


def _described(attempt: Attempt) -> str:
    config = " ".join(f"{name}={value}" for name, value in attempt.parameters.items())
    return f"{seconds_text(attempt.seconds)}<br>{label(config, 160) or 'the defaults'}"


def _unit(seconds: float) -> tuple[str, float]:
    """The unit in which a time has digits before the point, and the units per second."""
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        if seconds * factor >= 1.0:
            return unit, factor
    return "us", 1e6
