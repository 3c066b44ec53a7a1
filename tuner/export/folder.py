"""The folder that an export is written to: all of its files, or none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import mkdtemp

from gdn_ops.codegen.errors import InvalidInput

OPTION = "-o"


def require_empty(folder: Path) -> None:
    """Refuse a path that is not a new or an empty folder.

    Raises:
        InvalidInput: it is a file, has files, or cannot be read.
    """
    try:
        if not os.path.lexists(folder):
            return
        if not folder.is_dir():
            raise InvalidInput(f"{OPTION} {folder} is a file; give a folder that is new or empty.")
        found = next(folder.iterdir(), None)
    except OSError as error:
        raise _unwritable(folder, error) from error
    if found is not None:
        raise InvalidInput(
            f"{OPTION} {folder} is not empty (it has {found.name}); give a folder that is new or "
            "empty."
        )


def write_all(folder: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Write files to a new or empty folder, every one or none.

    Args:
        files: content by path in the folder, with slashes.

    Raises:
        InvalidInput: the folder is not empty, or cannot be written; nothing is left in it then.
    """
    require_empty(folder)
    tops = dict.fromkeys(name.partition("/")[0] for name in files)
    try:
        created = not folder.exists()
        if created:
            folder.mkdir()
        part: Path | None = None
        try:
            part = Path(mkdtemp(dir=folder, prefix=".gdn-export-"))
            for name, content in files.items():
                (part / name).parent.mkdir(parents=True, exist_ok=True)
                (part / name).write_bytes(content)
            for name in tops:
                (part / name).replace(folder / name)
            part.rmdir()
        except BaseException:
            for name in tops:
                _remove(folder / name)
            if part is not None:
                shutil.rmtree(part, ignore_errors=True)
            if created:
                folder.rmdir()
            raise
    except OSError as error:
        raise _unwritable(folder, error) from error
    return [folder / name for name in files]


def _remove(path: Path) -> None:
    """Remove a file or a folder with all that is in it, if it is there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _unwritable(folder: Path, error: OSError) -> InvalidInput:
    return InvalidInput(
        f"cannot write to {OPTION} {folder}: {error.strerror or error}; give a folder that is new "
        "or empty, in a folder that is writable."
    )
