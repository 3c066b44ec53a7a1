"""The stored results: a row per strategy and space, which a later run adds to or replaces."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gdn_ops.codegen.errors import InvalidInput
from gdn_ops.tuner.replay.replay import CHECKPOINTS
from gdn_ops.tuner.whole_file import write_whole


@dataclass(frozen=True)
class Row:
    """What a strategy reached in a space.

    Args:
        fractions: per seed, from 0 on, the fraction of the optimum at each of ``CHECKPOINTS``;
            empty if it cannot run.
        seconds: processor time per search, a mean.
        why_not: why it cannot run.
    """

    strategy: str
    project: str
    space: str
    kernel: str
    fractions: list[list[float]] = field(default_factory=list)
    seconds: float = 0.0
    why_not: str = ""


class Stored:
    """Rows and the file that holds them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: dict[tuple[str, str], Row] = {}
        if path.exists():
            for row in _content(path)["results"]:
                self._hold(Row(**row))

    @property
    def rows(self) -> list[Row]:
        return list(self._rows.values())

    def has(self, strategy: str, space: str, seeds: int) -> bool:
        """Whether there are this many searches of a strategy in a space, or why it cannot run."""
        row = self._rows.get((strategy, space))
        return row is not None and (bool(row.why_not) or len(row.fractions) >= seeds)

    def add(self, row: Row) -> None:
        """Hold a row in place of the one of the same strategy and space, and write the file."""
        self._hold(row)
        content = {"evaluations": CHECKPOINTS, "results": [asdict(row) for row in self.rows]}
        write_whole(self._path, json.dumps(content) + "\n")

    def _hold(self, row: Row) -> None:
        self._rows[row.strategy, row.space] = row


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
        if tuple(content["evaluations"]) == CHECKPOINTS and isinstance(content["results"], list):
            return dict(content)
    except (ValueError, KeyError, TypeError):
        pass
    raise InvalidInput(f"{path} has no results of this benchmark; name another file with --out.")
