"""Sources: the hash of each stage's source when a winner was measured, read apart from it.

They are of the table of trials, which may be too large for a call, and a call does not need them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from gdn_ops.codegen.errors import ResultsError
from gdn_ops.dispatch.results_file import COMMAND_SECONDS, LATER, read_only, schema_version
from gdn_ops.dispatch.row_values import Row, json_object
from gdn_ops.results_url import Location, ResultsUrl

SOURCES = "sources"
"""Their column in the view ``winners``."""


class Stored(Protocol):
    """What must be known of a winner: the fields that name its row."""

    @property
    def database(self) -> Location: ...
    @property
    def problem_id(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def trial_id(self) -> int | None: ...


W = TypeVar("W", bound=Stored)


def read_sources(winners: Iterable[Stored]) -> None:
    """Read the sources of many winners together, which is quicker than one by one."""
    unread = [winner for winner in winners if SOURCES not in winner.__dict__]
    groups: dict[Location, list[Stored]] = {}
    for winner in unread:
        groups.setdefault(winner.database, []).append(winner)
    for database, group in groups.items():
        for winner, sources in sources_then(database, group):
            keep_sources(winner, sources)


def keep_sources(winner: Stored, sources: Mapping[str, Any] | None) -> None:
    """Give a winner the sources that were read, where its cached property keeps them."""
    winner.__dict__[SOURCES] = sources


def sources_then(
    database: Location, winners: Iterable[W]
) -> Iterator[tuple[W, dict[str, Any] | None]]:
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


def sources_of_row(row: Row) -> dict[str, Any] | None:
    """The sources of a row of the view ``winners``; None if unknown.

    Raises:
        ValueError, RecursionError: they are malformed.
    """
    return None if row[SOURCES] is None else json_object(row, SOURCES)
