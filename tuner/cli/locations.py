"""``--db``: where a results database is, as commands take it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gdn_ops.results_url import Location

METAVAR = "FILE|URL"
DEFAULT = "$GDN_RESULTS_DB, or a file in your data folder"
SERVER = "A URL such as postgresql://user@host/database is a server."


def database_given(text: str | None, name: str = "--db") -> Location | None:
    """The database that an option names; None if it was left out."""
    from gdn_ops.results_path import absolute, location_of

    return None if text is None else absolute(location_of(text, name))


def database_to_write(text: str | None, name: str = "--db") -> Location:
    """The database that an option names, by default the user's own.

    Raises:
        InvalidInput: one of both is a URL that cannot be used.
    """
    from gdn_ops.results_path import user_database

    mine = user_database()
    return database_given(text, name) or mine
