"""Proofs: what the trial of a winner says of its measurement, read apart from the winner.

These are the hash of each stage's source then, and the conditions: threads, load, clocks. They are
in the table of trials, which may be too large for a call, and a call does not need them.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from typing import Protocol

from gdn_ops.codegen.errors import ResultsError
from gdn_ops.dispatch.doubt import conditions_of
from gdn_ops.dispatch.results_file import COMMAND_SECONDS, LATER, read_only, schema_version
from gdn_ops.dispatch.row_values import Row, json_object
from gdn_ops.results_url import Location, ResultsUrl

SOURCES, CONDITIONS = "sources", "conditions"
"""The attributes of a winner that are read from its proof."""
RESOURCES = "(SELECT t.resources FROM trials AS t WHERE t.id = winners.trial_id) AS trial_resources"
"""An expression for a query of the view ``winners``, which has no such column."""


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


def read_proofs(winners: Iterable[Stored]) -> None:
    """Read the proofs of many winners together, which is quicker than one by one."""
    groups: dict[Location, list[Stored]] = {}
    for winner in winners:
        if not {SOURCES, CONDITIONS} <= winner.__dict__.keys():
            groups.setdefault(winner.database, []).append(winner)
    for database, group in groups.items():
        _read(database, group)
        for winner in group:  # that could not be read
            keep_proof(winner, None)


def keep_proof(winner: Stored, row: Row | None) -> None:
    """Give a winner what a row says of its proof, where its cached properties keep it.

    What it has already stays.

    Args:
        row: with ``SOURCES`` and ``RESOURCES``; what is malformed in it is unknown. None if there
            is none.
    """
    sources = conditions = None
    if row is not None and row[SOURCES] is not None:
        with suppress(ValueError, RecursionError):
            sources = json_object(row, SOURCES)
    if row is not None:
        with suppress(ValueError, TypeError, RecursionError):
            conditions = conditions_of(json.loads(row["trial_resources"]))
    winner.__dict__.setdefault(SOURCES, sources)
    winner.__dict__.setdefault(CONDITIONS, conditions)


def _read(database: Location, winners: Iterable[Stored]) -> None:
    """Read the proofs of winners of one database, as far as that is possible."""
    query = (
        f"SELECT {SOURCES}, {RESOURCES} FROM winners WHERE problem_id = ? AND target = ? "
        "AND trial_id = ? LIMIT 1"
    )
    if isinstance(database, ResultsUrl):
        raise ValueError(f"the proofs of winners on {database} are read with the winners")
    with suppress(ResultsError), read_only(database, seconds=COMMAND_SECONDS) as connection:
        if schema_version(connection, database) >= LATER[SOURCES]:
            connection.row_factory = sqlite3.Row
            for winner in winners:
                key = winner.problem_id, winner.target, winner.trial_id
                keep_proof(winner, connection.execute(query, key).fetchone())
