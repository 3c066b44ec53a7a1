"""What a PostgreSQL server or its client library reports, as errors with the remedy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

from sqlalchemy.exc import DBAPIError

from gdn_ops.codegen.errors import ResultsBusy, ResultsError
from gdn_ops.results_url import ResultsUrl

LOCK_SECONDS = 60
"""How long a writer waits for the others."""

PASSING = ("08", "57P01", "57P02", "57P03", "53300", "40001", "40P01")
"""Starts of the codes of faults that pass: a lost connection, a server that stops or starts, too
many connections, and conflicts of transactions."""

_FAULTS = (
    ("55P03", "another process has locked {url} for more than {wait} s",
     "wait for that process or stop it"),
    ("42501", "the user of {url} may not do this", "ask the owner of the database for the right"),
    ("25006", "{url} is read-only, e.g. a standby", "give the URL of the primary server"),
    ("53100", "the disk of the server of {url} is full",
     "free some space there; the rows stored before are intact"),
    ("28", "the server refuses the user of {url}", "correct the password or the user"),
    ("3D000", "the server has no database {name}", "create it with `createdb {name}`"),
)  # fmt: skip
_PASSING_FAULTS = ("55P03", "53100")
_TEXTS = (
    (r"authentication failed|no password supplied|role .* does not exist", "28"),
    (r"database .* does not exist", "3D000"),
)
"""What the client library says where it gives no code, which is while it connects."""


class ServerGone(ResultsBusy):
    """The server cannot be reached now; a later attempt may succeed."""


@contextmanager
def server_errors(url: ResultsUrl) -> Iterator[None]:
    """Turn errors of the server into a ResultsError without the password."""
    try:
        yield
    except DBAPIError as error:
        # no chain: what a driver quotes of its arguments is not ours to know
        raise server_error(url, error) from None


def server_error(url: ResultsUrl, error: DBAPIError) -> ResultsError:
    """The ResultsError for an error of the server."""
    cause = error.orig or error
    text = _scrubbed(" ".join(str(cause).split()), url)
    code = getattr(cause, "sqlstate", None)
    connecting = code is None and type(cause).__name__ in ("OperationalError", "ConnectionTimeout")
    if connecting:
        code = next((code for part, code in _TEXTS if re.search(part, text)), None)
    for start, meaning, remedy in _FAULTS:
        if code is not None and code.startswith(start):
            what = meaning.format(url=url, name=url.name, wait=LOCK_SECONDS)
            kind = ResultsBusy if start in _PASSING_FAULTS else ResultsError
            return kind(f"{what} (PostgreSQL: {text}); {remedy.format(name=url.name)}.")
    if code is None and (connecting or error.connection_invalidated):
        return ServerGone(
            f"the server of {url} cannot be reached (PostgreSQL: {text}); start it, or correct the "
            "URL."
        )
    if error.connection_invalidated or (code or "").startswith(PASSING):
        return ServerGone(f"the server of {url} has ended the transaction (PostgreSQL: {text}).")
    return ResultsError(f"results database {url}: {text}; fix the cause or name another database.")


def _scrubbed(text: str, url: ResultsUrl) -> str:
    secrets = [url.password, *(value for key, value in url.query if "pass" in key.lower())]
    for secret in filter(None, secrets):
        text = text.replace(secret, "***").replace(quote(secret, safe=""), "***")
    return text
