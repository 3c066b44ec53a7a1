"""WorkerProcess: the parent's side of one child process that runs jobs."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from gdn_ops.results_path import variables

MAX_PRINTED = 2000
"""Characters kept of the start, and of the end, of what a worker printed."""
EXIT_SECONDS = 10.0
"""Time limit for a worker to exit after it has closed its stream."""


class GarbledAnswer(Exception):
    """A child sent something that is not one answer."""


class WorkerProcess:
    """One worker and its keeper, in a session of their own: Ctrl-C only reaches the parent.

    Args:
        command: arguments of Python that run ``gdn_ops.workers.worker.main`` or what has the same
            protocol; the parent's process id is added to them.
        env: environment variables of the child.
    """

    def __init__(self, command: Sequence[str], env: Mapping[str, str]) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115, closed by kill()
        # append mode, so that the file can be truncated between jobs while the child has it open
        flags = fcntl.fcntl(self._log, fcntl.F_GETFL)
        fcntl.fcntl(self._log, fcntl.F_SETFL, flags | os.O_APPEND)
        self._received = b""
        self._process = subprocess.Popen(
            [sys.executable, *command, str(os.getpid())],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,
        )

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._process.pid

    def fileno(self) -> int:
        """The file descriptor of the answers, for ``select``."""
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def send(self, kind: str, payload: Mapping[str, Any]) -> None:
        """Send a job. If the child has ended, ``receive`` will raise."""
        assert self._process.stdin is not None
        self._log.truncate(0)
        line = json.dumps({"kind": kind, "payload": payload}) + "\n"
        with suppress(BrokenPipeError):
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()

    def receive(self) -> dict[str, Any] | None:
        """Read what has arrived; return the answer if it is complete, else None.

        Raises:
            EOFError: the child ended without an answer.
            GarbledAnswer: it sent something else, e.g. a copy of it that a job forked did.
        """
        chunk = os.read(self.fileno(), 1 << 16)
        if not chunk:
            raise EOFError
        self._received += chunk
        if not self._received.endswith(b"\n"):
            return None
        line, self._received = self._received, b""
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError:
            raise GarbledAnswer(f"its answer cannot be read: {line[:80]!r}") from None
        return answer

    def wait_for_exit(self) -> tuple[str, str]:
        """Wait for a child that has closed its stream.

        Returns:
            How it ended, as ``kill`` says it, and what it printed until then.
        """
        ended, printed = self._ended(), self.stderr()
        death = self.kill()
        return death if ended else f"a hang at its exit, after {EXIT_SECONDS:g} seconds", printed

    def kill(self) -> str:
        """Kill the child and all processes it started; return the signal or exit code of its end.

        This object cannot be used afterwards.
        """
        if self._process.returncode is None:
            # its keeper kills all, also those that have left the group
            self._process.terminate()
            self._ended()
            # not reaped yet, so that no other group can have its number
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        code = self._process.wait() if self._ended() else None
        for stream in (self._process.stdin, self._process.stdout, self._log):
            assert stream is not None
            with suppress(BrokenPipeError):
                stream.close()
        if code is None:
            return f"a hang, even after SIGKILL, of {EXIT_SECONDS:g} seconds"
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    def _ended(self) -> bool:
        """Wait for the child to end, without reaping it; False if it takes too long.

        The kernel may hold it even after SIGKILL, e.g. because its GPU is gone.
        """
        late = time.monotonic() + EXIT_SECONDS
        pause = 0.001
        while self._process.returncode is None:
            flags = os.WEXITED | os.WNOWAIT | os.WNOHANG
            if os.waitid(os.P_PID, self.pid, flags) is not None:
                break
            if time.monotonic() > late:
                return False
            time.sleep(pause)
            pause = min(2 * pause, 0.05)
        return True

    def stderr(self) -> str:
        """What the child printed since its job started; if it is long, without its middle."""
        self._log.seek(0)
        text = self._log.read().decode(errors="replace").strip()
        return (
            text
            if len(text) <= 2 * MAX_PRINTED
            else f"{text[:MAX_PRINTED]}\n[...]\n{text[-MAX_PRINTED:]}"
        )


def environment(
    *, interpret: bool, threads: int | None, cache: Path | None, extra: Mapping[str, str]
) -> dict[str, str]:
    """The environment variables of a worker.

    Args:
        interpret: run kernels in Triton's interpreter; otherwise they are compiled, even if the
            parent interprets them.
        threads: threads of OpenMP, and so of PyTorch on the CPU; None for the library's default.
        cache: Triton's cache folder; None for the user's.
        extra: further variables, which override the others.
    """
    env = {name: value for name, value in variables().items() if name != "TRITON_INTERPRET"}
    if interpret:
        env["TRITON_INTERPRET"] = "1"
    if threads is not None:
        env["OMP_NUM_THREADS"] = env["MKL_NUM_THREADS"] = str(threads)
    if cache is not None:
        env["TRITON_CACHE_DIR"] = str(cache)
    # import the same package as the parent, also from a checkout that is not installed
    root = str(Path(__file__).parents[2])
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [root, env.get("PYTHONPATH")]))
    env["PYTHONSAFEPATH"] = "1"
    return {**env, **extra}
