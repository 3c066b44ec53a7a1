"""The errors of the file of a results database, each with what it means and the remedy."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from gdn_ops.codegen.errors import InvalidInput, ResultsBusy, ResultsError
from gdn_ops.results_path import RESULTS_VARIABLE, shipped_database, user_database

LARGEST_VALUE = 1 << 20
"""Bytes of a value that a call reads, at most."""

_FAULTS = (
    (
        "interrupted",
        "reading {path} takes longer than the time for it",
        "hand on a smaller file with `gdn export winners`, or {instead}",
    ),
    (
        "too big",
        f"{{path}} has a value of more than {LARGEST_VALUE} bytes",
        "remove that row or {instead}",
    ),
    (
        "is full",
        "the disk that holds {path} is full ({free} bytes free)",
        "free some space or {instead}; the rows stored before are intact",
    ),
    (
        "not a database",
        "{path} is not an SQLite database",
        "move the file away or {instead}",
    ),
    (
        "codec can't decode",
        "{path} is corrupt",
        "move the file away (`sqlite3 FILE .recover` may save rows) or {instead}",
    ),
    (
        "malformed",
        "{path} is corrupt",
        "move the file away (`sqlite3 FILE .recover` may save rows) or {instead}",
    ),
    (
        "readonly database",
        "{path} or its folder is not writable",
        "make both writable or {instead}",
    ),
    (
        "unable to open",
        "{path} cannot be opened",
        "check that it is a file and that you may read and write it, or {instead}",
    ),
    (
        "no such table",
        "{path} lacks a table of a results database",
        "restore the file from a copy or {instead}",
    ),
    (
        "no such column",
        "{path} lacks a column of a results database",
        "restore the file from a copy or {instead}",
    ),
    (
        "disk I/O error",
        "the disk that holds {path} cannot be read or written ({free} bytes free)",
        "check the disk or {instead}",
    ),
    (
        "locked",
        "another process has locked {path}",
        "wait for that process or stop it, or {instead}",
    ),
)

_PASSING = ("interrupted", "is full", "disk I/O error", "locked")
"""The fragments of faults that are not of the file itself."""


def elsewhere(path: Path) -> str:
    """What a user can do if a database itself cannot be repaired, by where its path comes from."""
    with suppress(InvalidInput, OSError):
        if path.absolute() == user_database():
            return f"set {RESULTS_VARIABLE} to another path"
        if path.absolute() == shipped_database():
            return "install the package again"
    return "name another file"


def results_error(path: Path, error: BaseException, *, instead: str | None = None) -> ResultsError:
    """Return a ResultsError that explains an SQLite or OS error and names the remedy.

    Args:
        instead: what a user can do if the file itself cannot be repaired; None: see ``elsewhere``.
    """
    text, instead = str(error), instead or elsewhere(path)
    for fragment, meaning, remedy in _FAULTS:
        if fragment in text:
            fault = meaning.format(path=path, free=_bytes_free(path))
            kind = ResultsBusy if fragment in _PASSING else ResultsError
            return kind(f"{fault} (SQLite: {text}); {remedy.format(instead=instead)}.")
    return ResultsError(
        f"results database {path} cannot be used: {text}; fix the cause or {instead}."
    )


def slow(path: Path, why: str, *, instead: str | None = None) -> ResultsError:
    """Return the error for a database that a call cannot read in time."""
    return ResultsError(
        f"{path} {why}, too much for a call to read; hand on a smaller file with "
        f"`gdn export winners`, or {instead or elsewhere(path)}."
    )


def missing(path: Path, *, instead: str | None = None) -> ResultsError:
    """Return the error for a requested database that does not exist."""
    return ResultsError(
        f"there is no results database {path}; create one with `gdn tune`, or "
        f"{instead or elsewhere(path)}."
    )


def _bytes_free(path: Path) -> int | str:
    parents = Path(os.path.realpath(path)).parents
    folder = next((p for p in parents if p.is_dir()), None)
    return shutil.disk_usage(folder).free if folder is not None else "unknown"
