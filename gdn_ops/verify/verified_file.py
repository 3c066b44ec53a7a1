"""The file that says which variants were verified on this machine, and its lock."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISREG

from gdn_ops.unlock import unlock
from gdn_ops.verify.verification import STORED, Key, Verification

POLL_SECONDS = 0.05
MOST_BYTES = 16 << 20
"""A larger file is not read: it has tens of thousands of verifications, or is not ours."""


class VerifiedFile:
    """Verifications of this process and of all others on this machine.

    A line of the file is one verification, and of two with the same key the later one counts. A
    line that cannot be read is left alone. If the file cannot be written, what this process finds
    is kept in its memory.

    Args:
        path: need not exist, and neither does its folder.
        shared: whether to use what other processes found.
    """

    def __init__(self, path: Path, *, shared: bool = True) -> None:
        self.path, self._shared = path, shared
        self._own: dict[Key, Verification] = {}
        self._read: dict[Key, Verification] = {}
        self._stamp: tuple[int, int] | None = None
        self._warned = False
        self.failures = 0
        """How many checks have failed in this process."""

    def known(self, key: Key) -> Verification | None:
        """Return what is known of a key; None if nothing is."""
        if key in self._own or not self._shared:
            return self._own.get(key)
        self._refresh()
        return self._read.get(key)

    def failed(self) -> dict[Key, Verification]:
        """Return every check that has failed, by its key."""
        found = dict(self._own)
        if self._shared:
            self._refresh()
            found = self._read | found
        return {key: each for key, each in found.items() if not each.ok}

    def counts(self) -> tuple[int, int]:
        """Return how many variants the file says are right, and how many are not."""
        self._refresh()
        right = sum(found.ok for found in self._read.values())
        return right, len(self._read) - right

    def add(self, found: Verification) -> None:
        """Keep a verification; a result that holds elsewhere is written to the file."""
        self._own[found.key] = found
        self.failures = sum(not each.ok for each in self._own.values())
        if found.status not in STORED:
            return
        try:
            _make_folder(self.path.parent)
            if self.path.exists() and not self.path.is_file():
                raise OSError("it is not a file")  # opening a pipe would wait for a reader
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
            file = os.open(self.path, flags, 0o600)
            try:
                # One write: lines of two processes do not mix, even without the lock. A newline
                # comes first because a killed process may have left half a line.
                os.write(file, f"\n{found.to_json()}\n".encode())
            finally:
                os.close(file)
        except OSError as error:
            self._warn(error)

    @contextmanager
    def locked(self, seconds: float) -> Iterator[None]:
        """Context manager: let one process at a time verify, and the others wait for its result.

        If the lock cannot be had (no such locks, a folder that cannot be written, a holder that
        takes longer than ``seconds``), the block runs without it: work is then done twice.
        """
        file = self._lock(seconds)
        try:
            yield
        finally:
            if file is not None:
                unlock(file)

    def _lock(self, seconds: float) -> int | None:
        try:
            import fcntl
        except ImportError:
            return None
        file = None
        with suppress(OSError):
            _make_folder(self.path.parent)
            file = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        if file is None:
            return None
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(POLL_SECONDS)
            except OSError:
                break
            else:
                return file
        os.close(file)
        return None

    def _refresh(self) -> None:
        try:
            status = self.path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            sound = S_ISREG(status.st_mode) and status.st_size <= MOST_BYTES
            if stamp == self._stamp or not sound:
                return
            text = self.path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return
        found = (Verification.from_json(line) for line in text.splitlines() if line.strip())
        self._read = {v.key: v for v in found if v is not None}
        self._stamp = stamp

    def _warn(self, error: OSError) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"{self.path} cannot be written ({error.strerror or error}): which kernels were "
                "verified is kept for this process only, and the next one verifies again. Set "
                "GDN_CACHE_DIR to a writable folder.",
                RuntimeWarning,
                stacklevel=2,
            )


def _make_folder(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
