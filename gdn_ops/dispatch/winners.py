"""Winners: reading the view ``winners`` of the databases, and ranking them for a problem.

This uses only the standard library and parses only JSON, so nothing in a database is executed.
``gdn_ops.codegen.variant`` checks the values of a variant before they are used.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from typing import Any

from gdn_ops.codegen.errors import GdnError, ResultsError
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.targets import kindred, same_device
from gdn_ops.codegen.variant import Variant
from gdn_ops.dispatch.distance import SIZE_FACTS, can_share, distance
from gdn_ops.dispatch.results_file import exists, read_only, schema_version
from gdn_ops.results_path import RESULTS_VARIABLE, rendered_folder, shipped_database
from gdn_ops.results_path import databases as database_paths
from gdn_ops.results_url import Location, ResultsUrl
from gdn_ops.sources import origin
from gdn_ops.toolchain import installed_version, ptxas_version

COLUMNS = (
    "problem_id", "facts", "target", "arch", "variant_id", "variant", "median", "low", "high",
    "reference", "provenance", "trial_id", "device", "torch", "triton", "created",
)  # fmt: skip
LATER = {"sources": 2, "driver": 4, "ptxas": 4}
"""Columns that older views do not have, and the first schema version whose view has them."""

FOR_ARCH = " WHERE provenance <> 'predicted' OR arch = ?"
Row = sqlite3.Row | Mapping[str, Any]
PROVENANCES = ("measured", "predicted")
HOW = ("exact", "nearest", "same arch", "kindred arch", "predicted")
"""How a winner fits a problem, from the best fit to the worst."""

DOUBTFUL_RATIO = 2.0
"""Upper over lower bound of the interval of a median; a calm machine stays below 1.1."""


@dataclass(frozen=True, kw_only=True)
class Winner:
    """The fastest correct variant known for a problem bucket on a target.

    Args:
        problem_id: the name of the bucket, as ``Problem.id()`` returns it.
        facts: the problem, as ``Problem.facts()`` returns it.
        target: the name of the target.
        arch: the architecture of the target.
        variant_id: the hash that names the variant.
        variant: plan, interface and stages, as ``Variant.to_json()`` returns them; not checked.
        median: the median time in seconds.
        low, high: the bounds of its 95 % confidence interval, in seconds.
        reference: seconds of the reference implementation in the same run; None if predicted.
        provenance: ``measured`` or ``predicted``.
        trial_id: the row of ``trials`` that measured it, in ``database``.
        sources: the hash of each stage's source at that time; None if unknown.
        device, driver, torch, triton, ptxas: the device and the versions it was measured with;
            None if unknown or if the device has none.
        created: when, ISO 8601, UTC.
        database: where it was read from.
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
    database: Location
    driver: str | None = None
    ptxas: str | None = None

    @property
    def speedup(self) -> float | None:
        """How many times as fast as the reference; None if no reference was measured."""
        return None if self.reference is None else self.reference / self.median

    @property
    def ships_unmeasured(self) -> bool:
        """Whether it is a prediction that ships with gdn-ops, so nobody here asked for it.

        What ships in an exported library was asked for by the one who exported it.
        """
        shipped = self.provenance == "predicted" and self.database == shipped_database()
        return shipped and rendered_folder() is None

    @cached_property
    def stale(self) -> str:
        """Why its times may no longer hold; empty if nothing has changed since it was measured.

        It is stale if the source of its kernels has changed, if the old source is unknown, if the
        variant can no longer be rendered, or if another Triton or ptxas (for plan ``torch`` another
        PyTorch) would run it here. A prediction is never stale. The first access renders the
        variant; reading and choosing winners do not.
        """
        return "" if self.provenance == "predicted" else "; ".join(_changes(self))

    @property
    def doubtful(self) -> str:
        """Why its time is not to be relied on; empty if it is."""
        if self.provenance == "predicted" or not is_doubtful(self.low, self.high):
            return ""
        return (
            f"its times vary by a factor of {self.high / self.low:.1f}: other processes or "
            "changing clocks disturbed the measurement"
        )


def is_doubtful(low: float, high: float) -> bool:
    """Whether the bounds of a 95 % interval are so far apart that the median says little."""
    return high > DOUBTFUL_RATIO * low


@dataclass(frozen=True)
class SkippedRow:
    """A row of the view that cannot be used, with the reason."""

    database: Location
    problem_id: str
    reason: str


@dataclass(frozen=True)
class WinnerTable:
    """The winners of all databases, in the order in which the databases are read.

    Args:
        winners: the winners that could be read.
        skipped: the rows that could not.
        faults: one error for each database that could not be read.
    """

    winners: tuple[Winner, ...]
    skipped: tuple[SkippedRow, ...] = ()
    faults: tuple[ResultsError, ...] = ()

    def candidates(
        self, problem_id: str, facts: Mapping[str, Any], target: Target
    ) -> list[tuple[Winner, str]]:
        """Return the winners that may serve a problem on a target, the best fit first.

        The order is: the same bucket on this target, the nearest buckets on it, measured winners of
        other targets of the same architecture, then of kindred architectures, predictions. In a
        tie the database read first wins, and within it the first by name of problem and target.

        Returns:
            Pairs of a winner and how it fits, one of ``HOW``.
        """
        fits = [(fit, w) for w in self.winners if (fit := _fit(w, problem_id, facts, target))]
        order = list(dict.fromkeys(w.database for w in self.winners))

        def rank(pair: tuple[tuple[int, bool, float, bool], Winner]) -> tuple[object, ...]:
            # not by the order of rows, which differs between copies of a database
            fit, w = pair
            return fit, order.index(w.database), w.problem_id, w.target

        return [(winner, HOW[fit[0]]) for fit, winner in sorted(fits, key=rank)]


def load_winners(
    databases: Iterable[Location] | None = None,
    read: Callable[[Location], WinnerTable] | None = None,
    *,
    target: Target | None = None,
) -> WinnerTable:
    """Read the databases (by default the user's, then the shipped one), and keep the errors.

    Args:
        databases: the files to read.
        read: how one is read; the tuner also reads servers. Default: ``read_winners``.
        target: leave out predictions that are not for this target; see ``read_winners``.
    """
    winners: list[Winner] = []
    skipped: list[SkippedRow] = []
    faults: list[ResultsError] = []
    for database in database_paths() if databases is None else databases:
        try:
            table = read_winners(database, target=target) if read is None else read(database)
        except ResultsError as fault:
            faults.append(fault)
        else:
            winners += table.winners
            skipped += table.skipped
    return WinnerTable(tuple(winners), tuple(skipped), tuple(faults))


def read_winners(database: Location, *, target: Target | None = None) -> WinnerTable:
    """Read the winners of one database; it has none if it is empty or does not exist.

    Args:
        target: leave out predictions that are not for this target. If there are none for the
            target itself, those of its architecture are for it.

    Raises:
        ResultsError: the file is not a results database, corrupt, or of a newer version; or the
            database is on a server, which a call does not wait for.
    """
    if isinstance(database, ResultsUrl):
        raise ResultsError(
            f"{database} is on a server, and calls read local files only: run `gdn pull {database} "
            f"-o FILE` and set {RESULTS_VARIABLE} to that file."
        )
    path = database
    if not exists(path):
        return WinnerTable(())
    winners: list[Winner] = []
    skipped: list[SkippedRow] = []
    with read_only(path, in_a_call=True) as connection:
        version = schema_version(connection, path)
        if version == 0:
            return WinnerTable(())
        later = (n if version >= since else f"NULL AS {n}" for n, since in LATER.items())
        columns = (*COLUMNS, *later)
        query = f"SELECT {', '.join(columns)} FROM winners{FOR_ARCH if target else ''}"
        rows = connection.execute(f"{query} ORDER BY trial_id", (target.arch,) if target else ())
        rows.row_factory = sqlite3.Row
        for row in rows if target is None else _for_target(rows, target):
            try:
                winners.append(winner_of(row, path))
            except (ValueError, RecursionError) as error:
                skipped.append(SkippedRow(path, str(row["problem_id"]), str(error)))
    return WinnerTable(tuple(winners), tuple(skipped))


def _for_target(rows: Iterable[sqlite3.Row], target: Target) -> Iterator[sqlite3.Row]:
    """The rows without predictions for other devices: many ship, and to parse them takes time.

    If there are none for the target itself, those of its architecture are for it.
    """
    same: dict[str, bool] = {}
    others: list[sqlite3.Row] = []
    own = False
    for row in rows:
        name = str(row["target"])
        if name not in same:
            same[name] = same_device(name, target)
        if row["provenance"] != "predicted":
            yield row
        elif same[name]:
            own = True
            yield row
        else:
            others.append(row)
    if not own:
        yield from others


def _fit(
    winner: Winner, problem_id: str, facts: Mapping[str, Any], target: Target
) -> tuple[int, bool, float, bool] | None:
    """Return the sort key of a winner, None if it does not fit.

    It is the rank in ``HOW``, whether it is of another target, the distance, and whether it is
    stored under another name of the target.
    """
    exact = winner.problem_id == problem_id
    if not (exact or can_share(winner.facts, facts)):
        return None
    same_target = same_device(winner.target, target)
    same_arch = same_target or winner.arch == target.arch
    predicted = winner.provenance == "predicted"
    if not same_arch and (predicted or not kindred(winner.arch, target.arch)):
        return None
    apart = 0.0 if exact else distance(winner.facts, facts)
    if predicted:
        how = "predicted"
    elif same_target:
        how = "exact" if exact else "nearest"
    else:
        how = "same arch" if same_arch else "kindred arch"
    return HOW.index(how), not same_target, apart, winner.target != target.name


def winner_of(row: Row, database: Location) -> Winner:
    """The winner of a row of the view ``winners``; JSON columns are text.

    Raises:
        ValueError, RecursionError: the row is malformed.
    """
    facts, variant = _object(row, "facts"), _object(row, "variant")
    for key in SIZE_FACTS:
        if type(facts.get(key)) is not int or facts[key] < 1:
            raise ValueError(f"fact {key} is {facts.get(key)!r}, not an integer >= 1")
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
        database=database,
        device=_text_or_none(row, "device"),
        torch=_text_or_none(row, "torch"),
        triton=_text_or_none(row, "triton"),
        driver=_text_or_none(row, "driver"),
        ptxas=_text_or_none(row, "ptxas"),
        problem_id=_text(row, "problem_id"),
        target=_text(row, "target"),
        arch=_text(row, "arch"),
        variant_id=_text(row, "variant_id"),
        created=_text(row, "created"),
    )


def _changes(winner: Winner) -> Iterator[str]:
    """What has changed since a winner was measured."""
    if winner.sources is None or winner.sources != _sources_today(winner):
        yield "the templates have changed since it was measured"
    package = "torch" if winner.variant.get("plan") == "torch" else "triton"
    then, now = getattr(winner, package), installed_version(package)
    if then and now and _release(then) != _release(now):
        name = {"torch": "PyTorch", "triton": "Triton"}[package]
        yield f"it was measured with {name} {then}, and {now} is installed"
    ptxas = ptxas_version(winner.arch) if winner.ptxas else None
    if ptxas is not None and ptxas != winner.ptxas:
        yield f"it was measured with ptxas {winner.ptxas}, and {ptxas} is installed"


def _release(version: str) -> str:
    """A version without the build, such as ``+cpu``."""
    return version.partition("+")[0]


def _sources_today(winner: Winner) -> dict[str, str] | None:
    try:
        problem = Problem.from_facts(winner.facts)
        return origin().hashes(problem, Variant.from_json(winner.variant, problem))
    except (GdnError, KeyError, TypeError):  # facts, axes or templates that no longer exist
        return None


def _object(row: Row, key: str) -> dict[str, Any]:
    text = _text(row, key)
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{key} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{key} is {value!r:.60}, not a JSON object")
    return value


def _text(row: Row, key: str) -> str:
    value = row[key]
    if not isinstance(value, str):
        raise ValueError(f"{key} is {value!r:.60}, not a string")
    return value


def _text_or_none(row: Row, key: str) -> str | None:
    return None if row[key] is None else _text(row, key)


def _seconds(row: Row, key: str) -> float:
    value = row[key]
    if not isinstance(value, int | float) or not isfinite(value) or value <= 0:
        raise ValueError(f"{key} is {value!r:.60}, not a number of seconds > 0")
    return float(value)
