"""A plot of the comparison: the time of each peer relative to ours, by case."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from bench.compare.report import OURS, Measured, seconds


def write_plot(measured: Measured, names: Sequence[str], method: str, file: Path) -> None:
    """Write an HTML page with the ratios; above 1 ours is faster.

    A dotted line is the roofline: the lower bound of the time, relative to ours. Without Plotly
    no page is written; the tables have the same numbers.
    """
    if find_spec("plotly") is None:
        return
    import plotly.graph_objects as go

    figure = go.Figure()
    cases = [case.name for case, _ in measured]
    for name in names:
        if name == OURS:
            continue
        ratios = []
        for _, answer in measured:
            theirs, own = (seconds(answer, n, method) for n in (name, OURS))
            ratios.append(theirs / own if theirs and own else None)
        figure.add_scatter(x=cases, y=ratios, mode="markers", name=f"{name} / ours")
    roof = []
    for _, answer in measured:
        floor, own = answer.get("roofline"), seconds(answer, OURS, method)
        roof.append(floor / own if floor and own else None)
    if any(roof):
        figure.add_scatter(x=cases, y=roof, mode="lines", name="roofline / ours",
                           line={"dash": "dot"})  # fmt: skip
    figure.add_hline(y=1.0, line_width=1)
    figure.update_layout(
        title=f"Time of other libraries relative to ours, {method} (above 1 ours is faster)",
        yaxis={"type": "log", "title": "ratio"}, template="plotly_white", height=700,
    )  # fmt: skip
    figure.write_html(file, include_plotlyjs="cdn")
