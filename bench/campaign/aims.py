"""Aims: the figures that a campaign on a GPU should reach."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import exp, log
from typing import Any

from bench.compare.cases import Case
from bench.compare.report import OURS, Measured, seconds

GRAPH, EAGER = "cuda-graph", "cuda-eager"
Rows = Mapping[str, Measured]
Known = Mapping[str, Any]
"""Measured ceilings, in bytes and FLOPs per second."""


@dataclass(frozen=True, kw_only=True)
class Aim:
    """A figure to reach.

    Args:
        what: its description.
        bar: the value to reach.
        text: the format of the value.
        figure: computes it from the rows of all grids and the ceilings; None: not measured.
        most: whether the value must be <= ``bar``; else it must be >= ``bar``.
    """

    what: str
    bar: float
    text: str
    figure: Callable[[Rows, Known], float | None]
    most: bool = False

    def met(self, value: float) -> bool:
        return value <= self.bar if self.most else value >= self.bar


def reached(aim: Aim, rows: Rows, known: Known) -> float | None:
    """Return the measured value of an aim; None if it was not measured."""
    return aim.figure(rows, known)


def _peer(grid: str, op: str, peer: str) -> Callable[[Rows, Known], float | None]:
    """Speed relative to a peer, or to the best peer of each row, as a geometric mean over rows."""

    def figure(rows: Rows, known: Known) -> float | None:
        ratios = []
        for _, answer in _of(rows, grid, op):
            mine = seconds(answer, OURS, GRAPH)
            names = _peers(answer) if peer == "best" else [peer]
            theirs = [s for name in names if (s := seconds(answer, name, GRAPH)) is not None]
            if mine and theirs:
                ratios.append(min(theirs) / mine)
        return exp(sum(map(log, ratios)) / len(ratios)) if ratios else None

    return figure


def _decode(rows: Rows, known: Known) -> float | None:
    """The smallest fraction of a copy's bandwidth for reading and writing states, B * HV >= 128."""
    shares = []
    for case, answer in _of(rows, "decode", "decode"):
        mine = seconds(answer, OURS, GRAPH)
        if mine and known.get("copy") and case.tokens * case.HV >= 128:
            moved = 2 * 4 * case.tokens * case.HV * case.D**2
            shares.append(moved / mine / known["copy"])
    return min(shares) if shares else None


def _host(rows: Rows, known: Known) -> float | None:
    """The largest difference between an eager forward and its CUDA graph, in microseconds."""
    found = []
    for measured in rows.values():
        for case, answer in measured:
            eager, graph = (seconds(answer, OURS, method) for method in (EAGER, GRAPH))
            if case.op == "forward" and eager and graph:
                found.append(eager - graph)
    return 1e6 * max(found) if found else None


def _of(rows: Rows, grid: str, op: str) -> Iterator[tuple[Case, Mapping[str, Any]]]:
    """The rows of an op in a grid, or in the short grid if that grid was not measured."""
    found = rows.get(grid) or (rows.get("short", ()) if grid in ("forward", "backward") else ())
    return (row for row in found if row[0].op == op)


def _peers(answer: Mapping[str, Any]) -> list[str]:
    return [name for name in answer.get("contenders", {}) if not name.startswith(OURS)]


AIMS = (
    Aim(what="forward against FLA", bar=2.5, text="{:.2f}x",
        figure=_peer("forward", "forward", "FLA")),
    Aim(what="forward against the best peer of each row", bar=1.0, text="{:.2f}x",
        figure=_peer("forward", "forward", "best")),
    Aim(what="backward against FLA", bar=2.0, text="{:.2f}x",
        figure=_peer("backward", "backward", "FLA")),
    Aim(what="backward against FlashQLA", bar=1.0, text="{:.2f}x",
        figure=_peer("backward", "backward", "FlashQLA")),
    Aim(what="decode, B HV >= 128, of the copy's bandwidth", bar=0.85, text="{:.0%}",
        figure=_decode),
    Aim(what="head dims 64 and 256, forward, against FLA", bar=2.0, text="{:.2f}x",
        figure=_peer("dims", "forward", "FLA")),
    Aim(what="head dims 64 and 256, backward, against FLA", bar=2.0, text="{:.2f}x",
        figure=_peer("dims", "backward", "FLA")),
    Aim(what="host time of an eager forward beyond the GPU's", bar=40.0, text="{:.0f} us",
        figure=_host, most=True),
)  # fmt: skip
"""Times are of CUDA graphs in one run, with K = V = 128 in bf16 unless stated otherwise."""
