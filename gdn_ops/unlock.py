"""Giving back the lock of a file or folder."""

from __future__ import annotations

import os
from contextlib import suppress


def unlock(descriptor: int) -> None:
    """Unlock what ``fcntl.flock`` locked, and close it."""
    import fcntl  # which Windows does not have

    # closing does not unlock it while a process that was forked meanwhile has it open, too
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)
