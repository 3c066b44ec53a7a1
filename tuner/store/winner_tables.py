"""Winners of results databases wherever they are; a call itself reads files only."""

from __future__ import annotations

from collections.abc import Iterable

from gdn_ops.dispatch import results_file, winners
from gdn_ops.dispatch.own_winners import own_winners, own_winners_query
from gdn_ops.dispatch.results_file import COMMAND_SECONDS, LATER
from gdn_ops.dispatch.winner import Winner, winner_of
from gdn_ops.dispatch.winner_proofs import RESOURCES, keep_proof
from gdn_ops.dispatch.winner_table import SkippedRow, WinnerTable
from gdn_ops.dispatch.winners import COLUMNS, MOST_WINNERS
from gdn_ops.results_url import Location, ResultsUrl

_QUERY = (
    f"SELECT {', '.join((*COLUMNS, *LATER, RESOURCES))} FROM winners ORDER BY trial_id NULLS FIRST"
)


def load_winners(databases: Iterable[Location] | None = None) -> WinnerTable:
    """Read databases, by default the user's and the shipped one, as ``dispatch`` does it."""
    return winners.load_winners(databases, read_winners)


def read_winners(database: Location) -> WinnerTable:
    """Read the winners of one database.

    Raises:
        ResultsError: it is not a results database, corrupt, or of a newer version; or its server
            cannot be reached.
    """
    if not isinstance(database, ResultsUrl):
        return winners.read_winners(database, seconds=COMMAND_SECONDS)
    # SQLAlchemy is slow to import, and reading a file needs none
    from sqlalchemy import text

    from gdn_ops.tuner.store.db import open_database

    found: list[Winner] = []
    skipped: list[SkippedRow] = []
    with open_database(database, create=False, writable=False) as opened, opened.read() as session:
        for row in session.execute(text(_QUERY)).mappings():
            try:
                winner = winner_of(dict(row), database)
                keep_proof(winner, dict(row))
                found.append(winner)
            except (ValueError, RecursionError) as error:
                skipped.append(SkippedRow(database, str(row["problem_id"]), str(error)))
        query = own_winners_query(found, MOST_WINNERS)
        rows = map(dict, session.execute(text(query)).mappings()) if query else ()
        own = own_winners(rows, database)
    return WinnerTable(tuple(found), tuple(skipped), own=own)


def exists(database: Location) -> bool:
    """Whether there is a file; of a server only opening it tells.

    Raises:
        ResultsError: the operating system does not allow to look.
    """
    return isinstance(database, ResultsUrl) or results_file.exists(database)
