"""Winners as the dispatcher reads them: the view ``winners`` of every database, and their order.

Only the standard library, only the view, only ``json.loads``: nothing that a database holds is
executed. Values of a variant are checked later by their axes, in ``gdn_ops.codegen.variant``.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any

from gdn_ops.codegen.errors import GdnError, ResultsError
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.variant import Variant
from gdn_ops.dispatch.distance import SIZE_FACTS, can_share, distance
from gdn_ops.dispatch.results_file import exists, read_only, schema_version
from gdn_ops.results_path import databases as database_paths

COLUMNS = (
    "problem_id", "facts", "target", "arch", "variant_id", "variant", "median", "low", "high",
    "reference", "provenance", "trial_id", "device", "torch", "triton", "created",
)  # fmt: skip
SOURCES_SINCE = 2
"""The schema version whose view has ``sources``, too."""

PROVENANCES = ("measured", "predicted")
HOW = ("exact", "nearest", "same arch", "predicted")
"""How a winner fits a problem, best first."""


@dataclass(frozen=True, kw_only=True)
class Winner:
    """The fastest right variant known for a problem bucket on a target.

    Args:
        facts: the problem, as ``Problem.facts()`` gave it.
        variant: plan, interface and stages, as ``Variant.to_json()`` gave it; not checked yet.
        median, low, high: seconds, with the bounds of the 95 % interval.
        reference: seconds of the reference baseline in the same run; None when predicted.
        provenance: ``measured`` or ``predicted``.
        trial_id: the row of ``trials`` it was measured by, in ``database``.
        sources: hash of each stage's source when it was measured; None where that is not known.
        device, torch, triton: where it was measured.
        created: ISO 8601, UTC.
        database: the file it was read from.
    """

    problem_id: str
    facts: Mapping[str, Any]
    target: str
    arch: str
    variant_id: str
    variant: Mapping[str, Any]
    median: float
    low: float
    high: float
    reference: float | None
    provenance: str
    trial_id: int | None
    device: str | None
    torch: str | None
    triton: str | None
    sources: Mapping[str, Any] | None
    created: str
    database: Path

    @property
    def speedup(self) -> float | None:
        """How many times faster than the reference; None where no reference was measured."""
        return None if self.reference is None else self.reference / self.median

    @cached_property
    def stale(self) -> bool:
        """Whether it was measured with another source than its variant has today.

        A source that is not known, or can no longer be rendered, counts as another one; a
        prediction was measured with none. The first question renders the variant; reading and
        choosing winners do not.
        """
        if self.provenance == "predicted":
            return False
        return self.sources is None or self.sources != _sources_today(self)


@dataclass(frozen=True)
class SkippedRow:
    """A row of the view that cannot be used, and why."""

    database: Path
    problem_id: str
    reason: str


@dataclass(frozen=True)
class WinnerTable:
    """What all databases know, in the order in which they are read.

    ``faults`` holds one error for each database that could not be read.
    """

    winners: tuple[Winner, ...]
    skipped: tuple[SkippedRow, ...] = ()
    faults: tuple[ResultsError, ...] = ()

    def candidates(
        self, problem_id: str, facts: Mapping[str, Any], target: str, arch: str
    ) -> list[tuple[Winner, str]]:
        """Every winner that may serve a problem on a target, the best fit first, with its ``HOW``.

        First the exact bucket on this target, then the nearest buckets on it, then those of other
        targets of the same arch, last what was predicted. Ties go to the database read first.
        """
        fits = [(fit, w) for w in self.winners if (fit := _fit(w, problem_id, facts, target, arch))]
        return [(winner, HOW[fit[0]]) for fit, winner in sorted(fits, key=lambda pair: pair[0])]


def load_winners(databases: Iterable[Path] | None = None) -> WinnerTable:
    """Read every database (the user's, then the shipped one) and keep what can be read."""
    winners: list[Winner] = []
    skipped: list[SkippedRow] = []
    faults: list[ResultsError] = []
    for path in database_paths() if databases is None else databases:
        try:
            table = read_winners(path)
        except ResultsError as fault:
            faults.append(fault)
        else:
            winners += table.winners
            skipped += table.skipped
    return WinnerTable(tuple(winners), tuple(skipped), tuple(faults))


def read_winners(path: Path) -> WinnerTable:
    """Read the winners of one database; one that does not exist, or is empty, has none.

    Raises:
        ResultsError: the file is no results database, corrupt, or of a newer version.
    """
    if not exists(path):
        return WinnerTable(())
    winners: list[Winner] = []
    skipped: list[SkippedRow] = []
    with read_only(path) as connection:
        version = schema_version(connection, path)
        if version == 0:
            return WinnerTable(())
        columns = (*COLUMNS, "sources" if version >= SOURCES_SINCE else "NULL AS sources")
        rows = connection.execute(f"SELECT {', '.join(columns)} FROM winners ORDER BY trial_id")
        rows.row_factory = sqlite3.Row
        for row in rows:
            try:
                winners.append(_winner(row, path))
            except (ValueError, RecursionError) as error:
                skipped.append(SkippedRow(path, str(row["problem_id"]), str(error)))
    return WinnerTable(tuple(winners), tuple(skipped))


def _fit(
    winner: Winner, problem_id: str, facts: Mapping[str, Any], target: str, arch: str
) -> tuple[int, bool, float] | None:
    """The sort key of a winner for a problem: rank in ``HOW``, foreign target, distance."""
    exact = winner.problem_id == problem_id
    here = winner.target == target
    if not (exact or can_share(winner.facts, facts)) or not (here or winner.arch == arch):
        return None
    apart = 0.0 if exact else distance(winner.facts, facts)
    if winner.provenance == "predicted":
        how = "predicted"
    elif here:
        how = "exact" if exact else "nearest"
    else:
        how = "same arch"
    return HOW.index(how), not here, apart


def _winner(row: sqlite3.Row, path: Path) -> Winner:
    facts, variant = _object(row, "facts"), _object(row, "variant")
    for key in SIZE_FACTS:
        if type(facts.get(key)) is not int or facts[key] < 1:
            raise ValueError(f"fact {key} is {facts.get(key)!r}, not a whole number from 1")
    if row["provenance"] not in PROVENANCES:
        raise ValueError(f"provenance is {row['provenance']!r}, not one of {PROVENANCES}")
    if row["trial_id"] is not None and type(row["trial_id"]) is not int:
        raise ValueError(f"trial_id is {row['trial_id']!r}, not a row number")
    return Winner(
        facts=facts,
        variant=variant,
        median=_seconds(row, "median"),
        low=_seconds(row, "low"),
        high=_seconds(row, "high"),
        reference=None if row["reference"] is None else _seconds(row, "reference"),
        provenance=row["provenance"],
        trial_id=row["trial_id"],
        sources=None if row["sources"] is None else _object(row, "sources"),
        database=path,
        device=_text_or_none(row, "device"),
        torch=_text_or_none(row, "torch"),
        triton=_text_or_none(row, "triton"),
        problem_id=_text(row, "problem_id"),
        target=_text(row, "target"),
        arch=_text(row, "arch"),
        variant_id=_text(row, "variant_id"),
        created=_text(row, "created"),
    )


def _sources_today(winner: Winner) -> dict[str, str] | None:
    from gdn_ops.codegen.source_hash import source_hashes  # loads jinja2

    try:
        problem = Problem.from_facts(winner.facts)
        return source_hashes(problem, Variant.from_json(winner.variant, problem))
    except (GdnError, KeyError, TypeError):  # facts, axes or a template that are gone
        return None


def _object(row: sqlite3.Row, key: str) -> dict[str, Any]:
    text = _text(row, key)
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{key} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{key} is {value!r:.60}, not a JSON object")
    return value


def _text(row: sqlite3.Row, key: str) -> str:
    value = row[key]
    if not isinstance(value, str):
        raise ValueError(f"{key} is {value!r:.60}, not a text")
    return value


def _text_or_none(row: sqlite3.Row, key: str) -> str | None:
    return None if row[key] is None else _text(row, key)


def _seconds(row: sqlite3.Row, key: str) -> float:
    value = row[key]
    if not isinstance(value, int | float) or not isfinite(value) or value <= 0:
        raise ValueError(f"{key} is {value!r:.60}, not a number of seconds above 0")
    return float(value)
