"""The figure of progress: the best time so far, by trial."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from gdn_ops.seconds import seconds_text
from gdn_ops.tuner.page.axis_scale import scale, unit_of
from gdn_ops.tuner.page.figures import SERIES, Figure
from gdn_ops.tuner.page.label import label, rounded
from gdn_ops.tuner.page.searches import Attempt, Search

Best = list[tuple[int, Attempt]]
"""The attempts that were the fastest so far, each with its number in the search."""
POINTS = 400
"""Most attempts of a search that are drawn one by one."""


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
    unit, factor = unit_of(min((s.best.seconds or 1.0 for s in timed if s.best), default=1e-3))
    traces: list[Figure] = []
    several = len(searches) > 1
    for i, search in enumerate(searches):
        colour = f"@{1 + i % SERIES}"
        dash = ("solid", "dash", "dot")[i // SERIES % 3]
        traces += _lines(search, colour, dash, unit, factor, dots=not several)
    length = max((len(s.attempts) for s in searches), default=1)
    if reference is not None:
        traces.append(
            {
                "type": "scatter", "mode": "lines", "name": "reference",
                "x": [1, max(2, length)], "y": [rounded(reference * factor)] * 2,
                "line": {"color": "@muted", "dash": "dot", "width": 1.5},
                "hovertemplate": f"reference %{{y:,.4~g}} {unit}<extra></extra>",
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


def _lines(
    search: Search, colour: str, dash: str, unit: str, factor: float, *, dots: bool
) -> Iterator[Figure]:
    name = label(search.plan)
    best, length = best_so_far(search.attempts), len(search.attempts)
    if not best:
        return
    steps = [*best, (length, best[-1][1])] if best[-1][0] < length else best
    x = [number for number, _ in steps]

    def times(read: Any) -> list[float | None]:
        return [rounded(factor * read(attempt)) for _, attempt in steps]

    def bound(read: Any) -> Figure:
        found = times(read)  # the last one lasts for half a trial, or it could not be seen
        return {"x": [*x, x[-1] + 0.5], "y": [*found, found[-1]]}

    common = {"type": "scatter", "x": x, "legendgroup": name}
    hidden = {"mode": "lines", "line": {"width": 0, "shape": "hv"}, "hoverinfo": "skip"}
    yield {**common, **hidden, **bound(lambda a: a.low or a.seconds), "showlegend": False}
    yield {
        **common, **hidden, **bound(lambda a: a.high or a.seconds), "fill": "tonexty",
        "fillcolor": f"{colour}/0.22", "name": "95 % interval", "showlegend": dots,
    }  # fmt: skip
    if dots:
        yield _dots(search.attempts, colour, unit, factor)
    yield {
        **common, "mode": "lines+markers", "y": times(lambda a: a.seconds),
        "name": "best so far" if dots else name,
        "line": {"color": colour, "width": 2, "shape": "hv", "dash": dash}, "marker": {"size": 5},
        "text": [_described(attempt) for _, attempt in steps],
        "hovertemplate": "trial %{x}: %{text}<extra></extra>",
    }  # fmt: skip


def _dots(attempts: Sequence[Attempt], colour: str, unit: str, factor: float) -> Figure:
    """The attempts one by one; of many of them evenly spaced ones."""
    timed = [(n, a) for n, a in enumerate(attempts, start=1) if a.seconds is not None]
    every = -(-len(timed) // POINTS) or 1
    drawn = timed[::every]
    return {
        "type": "scatter", "mode": "markers", "name": "trials",
        "x": [n for n, _ in drawn], "y": [rounded((a.seconds or 0.0) * factor) for _, a in drawn],
        "marker": {"color": f"{colour}/0.6", "size": 4},
        "hovertemplate": f"trial %{{x}}: %{{y:,.4~g}} {unit}<extra></extra>",
    }  # fmt: skip


def _described(attempt: Attempt) -> str:
    config = " ".join(f"{name}={value}" for name, value in attempt.parameters.items())
    return f"{seconds_text(attempt.seconds)}<br>{label(config, 160) or 'the defaults'}"
