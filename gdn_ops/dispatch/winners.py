"""Reading winners: the view ``winners`` of the results databases.

This uses only the standard library and parses only JSON, so nothing in a database is executed.
``gdn_ops.codegen.variant`` checks the values of a variant before they are used.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from gdn_ops.codegen.errors import ResultsError
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.targets import same_device
from gdn_ops.dispatch import results_file
from gdn_ops.dispatch.own_winners import SINCE, own_winners, own_winners_query
from gdn_ops.dispatch.results_errors import slow
from gdn_ops.dispatch.results_file import LATER, exists, read_only, schema_version
from gdn_ops.dispatch.winner import Parsed, Winner, winner_of
from gdn_ops.dispatch.winner_proofs import SOURCES
from gdn_ops.dispatch.winner_table import SkippedRow, WinnerTable
from gdn_ops.results_path import RESULTS_VARIABLE
from gdn_ops.results_path import databases as database_paths
from gdn_ops.results_url import Location, ResultsUrl

COLUMNS = (
    "problem_id", "facts", "target", "arch", "variant_id", "variant", "median", "low", "high",
    "reference", "provenance", "trial_id", "device", "torch", "triton", "created",
)  # fmt: skip
MOST_WINNERS, MOST_BYTES = 100_000, 1 << 26
"""Winners of one database, and bytes of their texts, that are read at most."""
_TEXTS = (str, bytes)
FOR_ARCH = " WHERE provenance <> 'predicted' OR arch = ?"


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
    own: list[Winner] = []
    for database in database_paths() if databases is None else databases:
        try:
            table = read_winners(database, target=target) if read is None else read(database)
        except ResultsError as fault:
            faults.append(fault)
        else:
            winners += table.winners
            skipped += table.skipped
            own += table.own
    return WinnerTable(tuple(winners), tuple(skipped), tuple(faults), tuple(own))


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
        limited, parsed = _limited(rows, path), Parsed()
        for row in limited if target is None else _for_target(limited, target):
            try:
                winners.append(winner_of(row, path, parsed))
            except (ValueError, RecursionError) as error:
                skipped.append(SkippedRow(path, str(row["problem_id"]), str(error)))
        own: tuple[Winner, ...] = ()
        query = own_winners_query(winners, MOST_WINNERS) if version >= SINCE else ""
        if query:
            # what is read without it serves where the provider is installed
            with suppress(sqlite3.Error):
                rows = connection.execute(query)
                rows.row_factory = sqlite3.Row
                own = own_winners(rows, path)
    winners.sort(key=lambda winner: winner.trial_id or 0)
    return WinnerTable(tuple(winners), tuple(skipped), own=own)


def _limited(rows: Iterable[sqlite3.Row], path: Path) -> Iterator[sqlite3.Row]:
    """The rows of a file, unless they are more than a call can read."""
    size = 0
    for number, row in enumerate(rows):
        size += sum([len(value) for value in row if isinstance(value, _TEXTS)])
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
