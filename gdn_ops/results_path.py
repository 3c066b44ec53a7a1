"""Paths of the results databases, of the cache and of a recording, and switches; only this module
reads the environment.
"""

from __future__ import annotations

import os
import sys
from importlib.resources import files
from pathlib import Path

from gdn_ops.codegen.errors import InvalidInput

RESULTS_VARIABLE = "GDN_RESULTS_DB"
CACHE_VARIABLE = "GDN_CACHE_DIR"
RECORD_VARIABLE = "GDN_RECORD"
VERIFY_VARIABLE = "GDN_VERIFY"
POLICIES = ("first", "always", "never")
"""At its first use on a device and toolchain, in every process again, never."""
_FOLDER = "gdn-ops"


def user_database() -> Path:
    """Return the path of the user's results database.

    It is ``GDN_RESULTS_DB`` if set, else ``results.db`` in the platform's data folder. The file
    need not exist; ``gdn tune`` creates it.
    """
    given = _variable(RESULTS_VARIABLE)
    if given is not None:
        return given.absolute()
    return _data_folder() / "results.db"


def shipped_database() -> Path:
    """Return the path of the database that ships with the package; nothing writes to it."""
    return Path(str(files("gdn_ops") / "results.db"))


def rendered_folder() -> Path | None:
    """Return the folder of the rendered sources if this package is an exported library."""
    folder = Path(str(files("gdn_ops") / "rendered"))
    return folder if folder.is_dir() else None


def databases() -> tuple[Path, ...]:
    """Return the databases that a look-up reads: the user's first, and no file twice.

    An exported library reads only its own.
    """
    if rendered_folder() is not None:
        return (shipped_database(),)
    found = (user_database(), shipped_database())
    # os.path.realpath, because Path.resolve raises on a loop of links
    same = os.path.realpath(found[0]) == os.path.realpath(found[1])
    return found[:1] if same else found


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
