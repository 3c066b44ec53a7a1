"""Comparisons: the rows in a campaign's folder, grid by grid."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from bench.compare.cases import GRIDS
from bench.compare.report import Measured


def comparisons(folder: Path) -> Iterator[tuple[str, Measured]]:
    """Yield each grid that was compared, with its rows."""
    for grid, cases in GRIDS.items():
        for file in sorted(folder.glob(f"*-{grid}.json")):
            rows = json.loads(file.read_text())["rows"]
            yield grid, list(zip(cases(), rows, strict=False))
