"""Paths of the results databases, of the cache and of a recording, and switches; only this module
reads the environment.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from gdn_ops.codegen.errors import InvalidInput
from gdn_ops.results_url import EXAMPLE, SCHEMES, Location, ResultsUrl, scheme_of

RESULTS_VARIABLE = "GDN_RESULTS_DB"
CACHE_VARIABLE = "GDN_CACHE_DIR"
RECORD_VARIABLE = "GDN_RECORD"
VERIFY_VARIABLE = "GDN_VERIFY"
COMPILER_VARIABLE = "CXX"
POLICIES = ("first", "always", "never")
"""At its first use on a device and toolchain, in every process again, never."""
_FOLDER = "gdn-ops"
_PACKAGE = Path(__file__).parent


def user_database() -> Location:
    """Return where the user's results database is.

    It is ``GDN_RESULTS_DB`` if set, else ``results.db`` in the platform's data folder. The file
    need not exist; ``gdn tune`` creates it. With the URL of a server the tuner works on that
    server; calls read files only.

    Raises:
        InvalidInput: the variable is a URL that is malformed or of another kind of server.
    """
    given = os.environ.get(RESULTS_VARIABLE)
    if not given:
        return local_database()
    return absolute(location_of(given, RESULTS_VARIABLE))


def local_database() -> Path:
    """Return the file in the platform's data folder, the user's database by default."""
    return _data_folder() / "results.db"


def absolute(location: Location) -> Location:
    """Return a location that does not depend on the working directory."""
    return location.absolute() if isinstance(location, Path) else location


def shipped_database() -> Path:
    """Return the path of the database that ships with the package; nothing writes to it."""
    return _PACKAGE / "results.db"


def rendered_folder() -> Path | None:
    """Return the folder of the rendered sources if this package is an exported library."""
    folder = _PACKAGE / "rendered"
    return folder if folder.is_dir() else None


def databases() -> tuple[Location, ...]:
    """Return the databases that a look-up reads: the user's first, and no file twice.

    An exported library reads only its own.
    """
    shipped = shipped_database()
    if rendered_folder() is not None:
        return (shipped,)
    mine = user_database()
    # os.path.realpath, because Path.resolve raises on a loop of links
    same = isinstance(mine, Path) and os.path.realpath(mine) == os.path.realpath(shipped)
    return (mine,) if same else (mine, shipped)


def cache_folder() -> Path:
    """Return the cache folder of rendered modules: ``GDN_CACHE_DIR``, else the platform's."""
    given = _variable(CACHE_VARIABLE)
    if given is not None:
        return given.absolute()
    if sys.platform == "win32":
        return _local_app_data() / _FOLDER / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / _FOLDER
    return _xdg("XDG_CACHE_HOME", Path.home() / ".cache") / _FOLDER


def recording_path() -> Path | None:
    """Return the file that the calls of this process are recorded in: ``GDN_RECORD``, or None."""
    given = _variable(RECORD_VARIABLE)
    return None if given is None else given.absolute()


def cache_is_chosen() -> bool:
    """Return whether the user has named the cache folder with ``GDN_CACHE_DIR``."""
    return bool(os.environ.get(CACHE_VARIABLE))


def chosen_compiler() -> str | None:
    """Return the C++ compiler that the user has named with ``CXX``, or None."""
    return os.environ.get(COMPILER_VARIABLE) or None


def variables() -> dict[str, str]:
    """Return the environment variables, for a child process."""
    return dict(os.environ)


def verification_policy() -> str:
    """Return when a kernel is verified before it is used: ``GDN_VERIFY``, one of ``POLICIES``.

    Raises:
        InvalidInput: the variable has another value.
    """
    value = os.environ.get(VERIFY_VARIABLE) or POLICIES[0]
    if value not in POLICIES:
        raise InvalidInput(
            f"{VERIFY_VARIABLE} is {value!r:.80}; set it to {', '.join(POLICIES)}, or unset it."
        )
    return value


def verified_file() -> Path:
    """Return the file that says which kernels were verified on this machine; it need not exist."""
    return cache_folder() / "verified.jsonl"


def switch(variable: str) -> bool | None:
    """Return whether an environment variable is 1 or 0; None if it is not set or empty.

    Raises:
        InvalidInput: it has another value.
    """
    value = os.environ.get(variable)
    if not value:
        return None
    if value not in ("0", "1"):
        raise InvalidInput(f"{variable} is {value!r}; set it to 1 or 0, or unset it.")
    return value == "1"


def _data_folder() -> Path:
    if sys.platform == "win32":
        return _local_app_data() / _FOLDER
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / _FOLDER
    return _xdg("XDG_DATA_HOME", Path.home() / ".local" / "share") / _FOLDER


def _local_app_data() -> Path:
    return _variable("LOCALAPPDATA") or Path.home() / "AppData" / "Local"


def _xdg(variable: str, default: Path) -> Path:
    # The XDG base directory specification: a relative path is invalid and must be ignored.
    given = _variable(variable)
    return given if given is not None and given.is_absolute() else default


def _variable(name: str) -> Path | None:
    value = os.environ.get(name)
    return expanded(Path(value), name) if value else None


def expanded(path: Path, name: str) -> Path:
    """Return a path with its ``~`` resolved.

    Args:
        path: the path.
        name: the option or variable that holds the path, for the error message.

    Raises:
        InvalidInput: the user after ``~`` does not exist or has no home folder.
    """
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise InvalidInput(
            f"{name} is {path}, and its home folder cannot be found; give the absolute path."
        ) from error


def location_of(text: str | Path, name: str) -> Location:
    """Return the path or the URL that a user gave.

    Args:
        name: the option or variable that holds it, for error messages.

    Raises:
        InvalidInput: it is a URL of another scheme, or malformed; or its home folder is unknown.
    """
    scheme = scheme_of(text)
    if scheme is None:
        return expanded(Path(text), name)
    if scheme in SCHEMES:
        return ResultsUrl.of(str(text), name)
    if scheme == "sqlite":
        raise InvalidInput(f"{name} is a URL of sqlite://; give the path of the file instead.")
    raise InvalidInput(
        f"{name} is a URL of {scheme}://, and results are kept in SQLite files and on PostgreSQL "
        f"servers only; give the path of a file, or {EXAMPLE}."
    )


def local_path(text: str | Path, name: str) -> Path:
    """Return the path that a user gave, where no server will do.

    Raises:
        InvalidInput: it is a URL; or its home folder is unknown.
    """
    location = location_of(text, name)
    if isinstance(location, ResultsUrl):
        raise InvalidInput(
            f"{name} is {location}, a database on a server, and a local file is needed; `gdn pull "
            "URL -o FILE` brings the winners of a server into one."
        )
    return location
