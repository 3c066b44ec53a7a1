"""Addresses of results databases: a path, or the URL of a PostgreSQL server without its password.

Calls read local files only; what uses a URL is in ``gdn_ops.tuner.store``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from gdn_ops.codegen.errors import InvalidInput

SCHEMES = ("postgresql", "postgresql+psycopg")
EXAMPLE = "postgresql://user@host/database"
PUBLIC = ("host", "port")
"""Parameters of a URL that are shown; others may be secrets."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_PARTS = re.compile(
    r"(?:(?P<user>[^:@/?#]*)(?P<password>:[^@/?#]*)?@)?(?P<host>\[[^]@]*\]|[^:@/?#]*)"
    r"(?::(?P<port>[^@/?#]*))?(?:/(?P<database>[^@/?#]*))?(?:\?(?P<query>[^#]*))?"
)
_SECRET = re.compile(r"(?<=://)([^\s:/@'\"]*):(?:\S*@|\S*…)")
_SECRET_PARAMETER = re.compile(r"(\w*pass(?:word|code)=)[^\s&'\"]*", re.IGNORECASE)


@dataclass(frozen=True)
class ResultsUrl:
    """A results database on a PostgreSQL server. ``str()`` and ``repr()`` leave the password out.

    Args:
        user, password, host, port: None or empty: as PostgreSQL's client library finds them, e.g.
            in ``PGPASSWORD`` or ``~/.pgpass``.
        database: its name.
        query: parameters of the client library, e.g. ``sslmode``.
    """

    user: str
    password: str | None = field(repr=False)
    host: str
    port: int | None
    database: str
    query: tuple[tuple[str, str], ...] = field(repr=False)

    @classmethod
    def of(cls, text: str, name: str) -> ResultsUrl:
        """Parse a URL.

        Args:
            name: the option or variable that holds it, for error messages.

        Raises:
            InvalidInput: it is malformed. The message quotes nothing that may be a password.
        """
        match = _PARTS.fullmatch(text.partition("://")[2])
        if match is None:
            raise InvalidInput(
                f"{name} is no URL such as {EXAMPLE}; write the characters @ : / ? # in a user "
                "name or password as %40 %3A %2F %3F %23, or leave the password to ~/.pgpass."
            )
        database = unquote(match["database"] or "")
        if not database:
            raise InvalidInput(f"{name} names no database; give a URL such as {EXAMPLE}.")
        port = match["port"] or None
        if port is not None and not (port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16):
            raise InvalidInput(f"the port in {name} is no number from 1 to 65535; correct it.")
        return cls(
            user=unquote(match["user"] or ""),
            password=None if match["password"] is None else unquote(match["password"][1:]),
            host=unquote(match["host"]).strip("[]"),
            port=None if port is None else int(port),
            database=database,
            query=_parameters(match["query"] or ""),
        )

    @property
    def name(self) -> str:
        """The name of the database, as a file has a name."""
        return self.database

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port is None else f":{self.port}"
        shown = "&".join(f"{key}={value}" for key, value in self.query if key in PUBLIC)
        return f"postgresql://{user}{host}{port}/{self.database}{'?' if shown else ''}{shown}"


Location = Path | ResultsUrl
"""Where a results database is."""


def scheme_of(text: str | Path) -> str | None:
    """Return the scheme of a URL in lower case; None if the text is none."""
    match = _SCHEME.match(str(text))
    return None if match is None else match[1].lower()


def without_passwords(text: str) -> str:
    """Return a text with the passwords of the URLs in it replaced by ``***``."""
    if "://" not in text:
        return text
    return _SECRET_PARAMETER.sub(r"\1***", _SECRET.sub(_hidden, text))


def _parameters(query: str) -> tuple[tuple[str, str], ...]:
    """The parameters of a URL; a plus sign stays one, as in PostgreSQL's client library."""
    pairs = (item.partition("=") for item in query.split("&") if item)
    return tuple((unquote(key), unquote(value)) for key, _, value in pairs)


def _hidden(match: re.Match[str]) -> str:
    return f"{match[1]}:***{match[0][-1]}"
