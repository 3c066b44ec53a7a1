"""Winners: reading the view ``winners`` of the databases, and ranking them for a problem.

This uses only the standard library and parses only JSON, so nothing in a database is executed.
``gdn_ops.codegen.variant`` checks the values of a variant before they are used.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar

from gdn_ops.codegen.errors import GdnError, ResultsError
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.targets import kindred, same_device
from gdn_ops.codegen.variant import Variant
from gdn_ops.dispatch import results_file
from gdn_ops.dispatch.distance import SIZE_FACTS, Place, shared_facts
from gdn_ops.dispatch.libraries import library_changes
from gdn_ops.dispatch.results_file import (
    COMMAND_SECONDS,
    LATER,
    exists,
    read_only,
    schema_version,
    slow,
)
from gdn_ops.results_path import RESULTS_VARIABLE, rendered_folder, shipped_database
from gdn_ops.results_path import databases as database_paths
from gdn_ops.results_url import Location, ResultsUrl
from gdn_ops.sources import origin
from gdn_ops.toolchain import installed_version, ptxas_version

Key = TypeVar("Key", bound=Hashable)

COLUMNS = (
    "problem_id", "facts", "target", "arch", "variant_id", "variant", "median", "low", "high",
    "reference", "provenance", "trial_id", "device", "torch", "triton", "created",
)  # fmt: skip
SOURCES = "sources"
"""The column that is read apart, because it is of the trials."""
MOST_WINNERS, MOST_BYTES = 100_000, 1 << 26
"""Winners of one database, and bytes of their texts, that are read at most."""

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
    def sources(self) -> Mapping[str, Any] | None:
        """The hash of each stage's source when it was measured; None if unknown.

        They are read from the file at the first access, and from a server with the winner. A call
        does not need them, and they are in the table of trials, which may be too large for a call.
        """
        ((_, sources),) = _sources_then(self.database, [self])
        return sources

    @cached_property
    def kernels(self) -> Hashable:
        """Equal for problems that may share a winner."""
        return shared_facts(self.facts)

    @cached_property
    def place(self) -> Place:
        return Place.of(self.facts)

    @cached_property
    def stale(self) -> str:
        """Why its times may no longer hold; empty if nothing has changed since it was measured.

        It is stale if the source of its kernels has changed, if the old source is unknown, if the
        variant can no longer be rendered, or if another Triton or ptxas (for plan ``torch`` another
        PyTorch, for a library another version of it) would run it here. A prediction is never
        stale. The first access renders the variant; reading and choosing winners do not.
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

    @cached_property
    def _database_order(self) -> dict[Location, int]:
        return {name: i for i, name in enumerate(dict.fromkeys(w.database for w in self.winners))}

    @cached_property
    def _by_problem(self) -> dict[str, list[Winner]]:
        return _grouped(self.winners, lambda winner: winner.problem_id)

    @cached_property
    def _by_kernels(self) -> dict[Hashable, list[Winner]]:
        return _grouped(self.winners, lambda winner: winner.kernels)

    def candidates(
        self, problem_id: str, facts: Mapping[str, Any], target: Target
    ) -> Iterator[tuple[Winner, str]]:
        """Yield the winners that may serve a problem on a target, the best fit first.

        Those of the bucket itself come without a look at the others, of which there may be many.

        The order is: the same bucket on this target, the nearest buckets on it, measured winners of
        other targets of the same architecture, then of kindred architectures, predictions. In a
        tie the database read first wins, and within it the first by name of problem and target.

        Yields:
            Pairs of a winner and how it fits, one of ``HOW``.
        """
        same = self._fits(self._by_problem.get(problem_id, ()), problem_id, facts, target)
        exact = [pair for pair in same if pair[1] == HOW[0]]
        yield from exact
        kernels = shared_facts(facts)
        others = self._by_kernels.get(kernels, [])
        if any(winner.kernels != kernels for winner, _ in same):
            # facts of another version may disagree with today's of the same bucket
            others = list({id(w): w for w in (*self._by_problem[problem_id], *others)}.values())
        seen = {id(winner) for winner, _ in exact}
        left = [winner for winner in others if id(winner) not in seen]
        yield from self._fits(left, problem_id, facts, target)

    def _fits(
        self,
        winners: Iterable[Winner],
        problem_id: str,
        facts: Mapping[str, Any],
        target: Target,
    ) -> list[tuple[Winner, str]]:
        return _fits(winners, problem_id, facts, target, self._database_order)


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


def read_winners(
    database: Location, *, target: Target | None = None, seconds: float | None = None
) -> WinnerTable:
    """Read the winners of one database; it has none if it is empty or does not exist.

    Args:
        target: leave out predictions that are not for this target. If there are none for the
            target itself, those of its architecture are for it.
        seconds: the time limit; None: ``CALL_SECONDS``.

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
    seconds = results_file.CALL_SECONDS if seconds is None else seconds
    with read_only(path, seconds=seconds) as connection:
        version = schema_version(connection, path)
        if version == 0:
            return WinnerTable(())
        later = (
            name if version >= since else f"NULL AS {name}"
            for name, since in LATER.items() if name != SOURCES
        )  # fmt: skip
        columns = (*COLUMNS, *later)
        # not ordered by SQLite, which would have to read all rows first, however many there are
        where = FOR_ARCH if target else ""
        query = f"SELECT {', '.join(columns)} FROM winners{where} LIMIT {MOST_WINNERS + 1}"
        rows = connection.execute(query, (target.arch,) if target else ())
        rows.row_factory = sqlite3.Row
        limited, parsed = _limited(rows, path), _Parsed()
        for row in limited if target is None else _for_target(limited, target):
            try:
                winners.append(winner_of(row, path, parsed))
            except (ValueError, RecursionError) as error:
                skipped.append(SkippedRow(path, str(row["problem_id"]), str(error)))
    winners.sort(key=lambda winner: winner.trial_id or 0)
    return WinnerTable(tuple(winners), tuple(skipped))


def _limited(rows: Iterable[sqlite3.Row], path: Path) -> Iterator[sqlite3.Row]:
    """The rows of a file, unless they are more than a call can read."""
    size = 0
    for number, row in enumerate(rows):
        size += sum(len(value) for value in row if isinstance(value, str | bytes))
        if number == MOST_WINNERS or size > MOST_BYTES:
            raise slow(path, f"has more than {MOST_WINNERS} winners or {MOST_BYTES} bytes")
        yield row


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


def _grouped(winners: Iterable[Winner], key: Callable[[Winner], Key]) -> dict[Key, list[Winner]]:
    groups: dict[Key, list[Winner]] = {}
    for winner in winners:
        groups.setdefault(key(winner), []).append(winner)
    return groups


def _fits(
    winners: Iterable[Winner],
    problem_id: str,
    facts: Mapping[str, Any],
    target: Target,
    database_order: Mapping[Location, int],
) -> list[tuple[Winner, str]]:
    """The winners that fit, each with how it does, the best fit first.

    Winners are sorted by how they fit, whether they are of another target, their distance, and
    whether they are stored under another name of the target; then by database and by name.
    """
    kernels, place = shared_facts(facts), Place.of(facts)
    near: dict[tuple[str, str], tuple[str, bool] | None] = {}
    fits = []
    for winner in winners:
        device = winner.target, winner.arch
        if device not in near:
            near[device] = _nearness(*device, target)
        nearness = near[device]
        if nearness is None:
            continue
        how, other_target = nearness
        exact = winner.problem_id == problem_id
        if not exact and winner.kernels != kernels:
            continue
        if winner.provenance == "predicted":
            if how == "kindred arch":
                continue
            how = "predicted"
        elif how == "nearest" and exact:
            how = "exact"
        apart = 0.0 if exact else winner.place.distance(place)
        # not by the order of rows, which differs between copies of a database
        order = (
            HOW.index(how), other_target, apart, winner.target != target.name,
            database_order[winner.database], winner.problem_id, winner.target,
        )  # fmt: skip
        fits.append((order, winner, how))
    return [(winner, how) for _, winner, how in sorted(fits, key=lambda fit: fit[0])]


def _nearness(name: str, arch: str, target: Target) -> tuple[str, bool] | None:
    """How a measured winner of a target fits, and whether that is another target than this one."""
    if same_device(name, target):
        return "nearest", False
    if arch == target.arch:
        return "same arch", True
    return ("kindred arch", True) if kindred(arch, target.arch) else None


class _Parsed(dict[str, dict[str, Any]]):
    """JSON objects by their texts, of which many rows have the same; they are not changed."""

    def object(self, row: Row, key: str) -> dict[str, Any]:
        text = row[key]
        found = self.get(text) if isinstance(text, str) else None
        if found is None:
            found = self[text] = _object(row, key)
        return found


def winner_of(row: Row, database: Location, parsed: _Parsed | None = None) -> Winner:
    """The winner of a row of the view ``winners``; JSON columns are text.

    Args:
        parsed: remembers what was parsed, for many rows of one database.

    Raises:
        ValueError, RecursionError: the row is malformed.
    """
    parsed = _Parsed() if parsed is None else parsed
    facts, variant = parsed.object(row, "facts"), parsed.object(row, "variant")
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
    changed, package = library_changes(winner.variant)
    if changed:
        yield changed
    then, now = (getattr(winner, package), installed_version(package)) if package else ("", "")
    if then and now and _release(then) != _release(now):
        name = {"torch": "PyTorch", "triton": "Triton"}[package]
        yield f"it was measured with {name} {then}, and {now} is installed"
    ptxas = ptxas_version(winner.arch) if winner.ptxas else None
    if ptxas is not None and ptxas != winner.ptxas:
        yield f"it was measured with ptxas {winner.ptxas}, and {ptxas} is installed"


def _release(version: str) -> str:
    """A version without the build, such as ``+cpu``."""
    return version.partition("+")[0]


def read_sources(winners: Iterable[Winner]) -> None:
    """Read the sources of many winners together, which is quicker than one by one."""
    unread = [winner for winner in winners if SOURCES not in winner.__dict__]
    for database, group in _grouped(unread, lambda winner: winner.database).items():
        for winner, sources in _sources_then(database, group):
            keep_sources(winner, sources)


def keep_sources(winner: Winner, sources: Mapping[str, Any] | None) -> None:
    """Give a winner the sources that were read, where its cached property keeps them."""
    winner.__dict__[SOURCES] = sources


def _sources_then(
    database: Location, winners: Iterable[Winner]
) -> Iterator[tuple[Winner, dict[str, Any] | None]]:
    """Each winner of a database with its sources; with None from where they cannot be read."""
    query = (
        f"SELECT {SOURCES} FROM winners WHERE problem_id = ? AND target = ? AND trial_id = ? "
        "LIMIT 1"
    )
    left = iter(winners)
    if isinstance(database, ResultsUrl):
        raise ValueError(f"the sources of winners on {database} are read with the winners")
    with suppress(ResultsError), read_only(database, seconds=COMMAND_SECONDS) as connection:
        if schema_version(connection, database) >= LATER[SOURCES]:
            connection.row_factory = sqlite3.Row
            for winner in left:
                key = winner.problem_id, winner.target, winner.trial_id
                row = connection.execute(query, key).fetchone()
                sources = None
                with suppress(ValueError, RecursionError):
                    sources = None if row is None else sources_of_row(row)
                yield winner, sources
    for winner in left:
        yield winner, None


def _sources_today(winner: Winner) -> dict[str, str] | None:
    try:
        problem = Problem.from_facts(winner.facts)
        return origin().hashes(problem, Variant.from_json(winner.variant, problem))
    except (GdnError, KeyError, TypeError):  # facts, axes or templates that no longer exist
        return None


def sources_of_row(row: Row) -> dict[str, Any] | None:
    """The sources of a row of the view ``winners``; None if unknown.

    Raises:
        ValueError, RecursionError: they are malformed.
    """
    return None if row[SOURCES] is None else _object(row, SOURCES)


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
