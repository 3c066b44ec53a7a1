"""Cache folders that belong to the user."""

from __future__ import annotations

import os
from pathlib import Path

from gdn_ops.codegen.errors import LaunchError


def ensure_folder(folder: Path) -> None:
    """Create a cache folder with mode 0700, unless it exists.

    Raises:
        LaunchError: it cannot be created, or belongs to another user.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        strange = hasattr(os, "getuid") and folder.stat().st_uid != os.getuid()
    except OSError as error:
        raise LaunchError(
            f"cannot create the cache folder {folder}: {error}; "
            "set GDN_CACHE_DIR to a writable folder."
        ) from error
    if strange:
        raise LaunchError(
            f"the cache folder {folder} belongs to another user; "
            "set GDN_CACHE_DIR to a folder of your own."
        )


def ensure_private(folder: Path) -> None:
    """Create a folder for programs in a cache folder, with mode 0700, unless it exists.

    Raises:
        LaunchError: it cannot be created, belongs to another user, or others may write to it.
    """
    ensure_folder(folder.parent)
    ensure_folder(folder)
    if hasattr(os, "getuid") and folder.stat().st_mode & 0o022:
        raise LaunchError(
            f"other users may write to {folder}, which holds programs; make it private with "
            "chmod 700."
        )
