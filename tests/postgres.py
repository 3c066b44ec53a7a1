"""A PostgreSQL server for tests, in a folder of its own and on a Unix socket only."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PLACES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin")
LOCKED = "locked"
"""A role that is asked for its password; a test must make it."""
OWNER = "nobody"
"""The user that a server of root runs as: PostgreSQL refuses to run as root."""


def binaries() -> Path | None:
    """The folder with ``initdb`` and ``pg_ctl``; None if PostgreSQL is not installed."""
    for pattern in PLACES:
        found = [path for path in Path("/").glob(pattern[1:]) if (path / "initdb").exists()]
        if found:
            return max(found, key=lambda path: [int(n) for n in path.parts[-2].split("-")[-1:]
                                                if n.isdigit()])  # fmt: skip
    initdb = shutil.which("initdb")
    return None if initdb is None else Path(initdb).resolve().parent


class Server:
    """A running server; ``url`` gives the address of a database of its own for each name."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder, self._programs = folder, programs
        self._data = folder / "data"
        # no password is asked for on the socket, whose folder only its owner can enter
        self._run("initdb", "-D", self._data, "-U", "tuner", "-A", "trust", "-N", "-E", "UTF8",
                  "--locale=C.UTF-8")  # fmt: skip
        hba = self._data / "pg_hba.conf"
        hba.write_text(f"local all {LOCKED} scram-sha-256\n{hba.read_text()}")
        self.start()

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = f"-c listen_addresses='' -c unix_socket_directories='{self.folder}' -c fsync=off"
        log = self.folder / "log"
        self._run("pg_ctl", "-D", self._data, "-l", log, "-w", "-o", options, "start")

    def stop(self, mode: str = "immediate") -> None:
        """Stop it, by default as a crash does."""
        self._run("pg_ctl", "-D", self._data, "-w", "-m", mode, "stop")

    def database(self, name: str) -> str:
        """The URL of a new, empty database, with a password that nobody may see."""
        self._run("createdb", "-h", self.folder, "-U", "tuner", name)
        return f"postgresql://tuner:{PASSWORD}@/{name}?host={self.folder}"

    def _run(self, program: str, *arguments: object) -> None:
        done = subprocess.run(
            [self._programs / program, *map(str, arguments)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True, cwd="/", preexec_fn=_another_user(),
        )  # fmt: skip
        assert done.returncode == 0, f"{program}: {done.stderr}"


PASSWORD = "geheim-5711"


def _another_user() -> Callable[[], None] | None:
    """What makes a child process of root one of ``OWNER``; None for other users."""
    if os.geteuid() != 0:
        return None
    owner = pwd.getpwnam(OWNER)

    def become() -> None:
        os.setgroups([])
        os.setgid(owner.pw_gid)
        os.setuid(owner.pw_uid)

    return become


@contextmanager
def running_server() -> Iterator[Server]:
    """Context manager: a server that is stopped and deleted afterwards; skips where there is none.

    Its folder is directly in the folder of temporary files, because the path of a socket must be
    shorter than 108 bytes, and the server's user must be able to enter it.
    """
    pytest.importorskip(
        "psycopg", reason="psycopg is not installed: pip install 'gdn-ops[postgres]'"
    )
    programs = binaries()
    if programs is None:
        pytest.skip("PostgreSQL is not installed: no initdb in PATH or /usr/lib/postgresql")
    folder = Path(tempfile.mkdtemp(prefix="gdn-pg-", dir="/tmp"))
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, OWNER)
        server = Server(folder, programs)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
