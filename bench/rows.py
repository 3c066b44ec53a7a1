"""A row of a benchmark: the measured value and the bar it must reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Row:
    """One measured row.

    Args:
        what: what was measured.
        value: the measured value, in ``unit``.
        unit: its unit, or the peer of a ratio.
        bar: the value to reach.
        most: whether the value must be <= ``bar``; else it must be >= ``bar``.
        detail: further facts by name.
    """

    what: str
    value: float
    unit: str
    bar: float
    most: bool = False
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def reached(self) -> bool:
        return self.value <= self.bar if self.most else self.value >= self.bar

    def json(self) -> dict[str, Any]:
        return {**asdict(self), "reached": self.reached}


def markdown(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = ["| what | measured | bar | detail |", "|---|---|---|---|"]
    for row in rows:
        sign = "<=" if row.most else ">="
        mark = "" if row.reached else " (missed)"
        detail = ", ".join(f"{k} {v}" for k, v in row.detail.items() if not isinstance(v, list))
        lines.append(
            f"| {row.what} | {row.value:.3g} {row.unit}{mark} | {sign} {row.bar:g} {row.unit} "
            f"| {detail} |"
        )
    return "\n".join(lines)
