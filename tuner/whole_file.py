"""Files that are written completely or not at all."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock

from gdn_ops.unlock import unlock


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a file, or leave what was there; no temporary file stays.

    Of a link, the file that it points to is replaced. The permissions are those of a new file.

    Args:
        content: text is written as UTF-8.

    Raises:
        OSError: the folder is missing, or the file cannot be written.
    """
    path = Path(os.path.realpath(path))
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    number, name = tempfile.mkstemp(dir=path.parent, prefix=".gdn-", suffix=".part")
    try:
        with os.fdopen(number, "wb") as part:
            part.write(data)
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Inside the block no other process is in such a block for the same folder.

    For a file that is read, changed and written as a whole. Where the file system has no locks,
    nothing is locked.

    Raises:
        OSError: the folder cannot be opened.
    """
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):
            fcntl.flock(number, fcntl.LOCK_EX)
        yield
    finally:
        unlock(number)


def _umask() -> int:
    """The permissions that new files of this process do not get."""
    with _READING_UMASK:
        mask = os.umask(0o077)
        os.umask(mask)
        return mask


_READING_UMASK = Lock()
