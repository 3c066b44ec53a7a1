"""Where gdn-ops keeps things on this machine; the only module that reads environment variables."""

from __future__ import annotations

import os
import sys
from importlib.resources import files
from pathlib import Path

from gdn_ops.codegen.errors import InvalidInput

RESULTS_VARIABLE = "GDN_RESULTS_DB"
CACHE_VARIABLE = "GDN_CACHE_DIR"
_FOLDER = "gdn-ops"


def user_database() -> Path:
    """The user's own results database: ``GDN_RESULTS_DB``, else in the platform's data folder.

    The file need not exist; ``gdn tune`` creates it.
    """
    given = _variable(RESULTS_VARIABLE)
    if given is not None:
        return given.absolute()
    return _data_folder() / "results.db"


def shipped_database() -> Path:
    """The database that comes with the package; read-only by rule."""
    return Path(str(files("gdn_ops") / "results.db"))


def databases() -> tuple[Path, ...]:
    """The databases a look-up reads, the user's own first, each file once."""
    found = (user_database(), shipped_database())
    return found[:1] if found[0].resolve() == found[1].resolve() else found


def cache_folder() -> Path:
    """Where rendered modules are cached: ``GDN_CACHE_DIR``, else the platform's cache folder."""
    given = _variable(CACHE_VARIABLE)
    if given is not None:
        return given.absolute()
    if sys.platform == "win32":
        return _local_app_data() / _FOLDER / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / _FOLDER
    return _xdg("XDG_CACHE_HOME", Path.home() / ".cache") / _FOLDER


def _data_folder() -> Path:
    if sys.platform == "win32":
        return _local_app_data() / _FOLDER
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / _FOLDER
    return _xdg("XDG_DATA_HOME", Path.home() / ".local" / "share") / _FOLDER


def _local_app_data() -> Path:
    return _variable("LOCALAPPDATA") or Path.home() / "AppData" / "Local"


def _xdg(variable: str, default: Path) -> Path:
    # the XDG base directory specification: a relative path is invalid and must be ignored
    given = _variable(variable)
    return given if given is not None and given.is_absolute() else default


def _variable(name: str) -> Path | None:
    value = os.environ.get(name)
    return expanded(Path(value), name) if value else None


def expanded(path: Path, name: str) -> Path:
    """A path with its ``~`` resolved; ``name`` is the option or variable that gave it.

    Raises:
        InvalidInput: there is no such user, or no home folder.
    """
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise InvalidInput(
            f"{name} is {path}, and that home folder is unknown; give the whole path."
        ) from error
