"""WorkerProcess: the parent's handle of one child process that runs jobs."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

KEPT = 2000
"""Characters kept of each end of what a worker printed."""
EXIT_SECONDS = 10.0
"""Seconds between the end of a worker's stream and its own at most."""


class WorkerProcess:
    """One worker, the leader of a process group of its own, so that Ctrl-C is the parent's alone.

    Args:
        module: what ``python -m`` runs; ``gdn_ops.tuner.workers.worker`` or one that
            speaks the same protocol.
        env: the child's environment.
    """

    def __init__(self, module: str, env: Mapping[str, str]) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115, closed by kill()
        # appending, so that the file can be emptied between jobs under the child's hands
        flags = fcntl.fcntl(self._log, fcntl.F_GETFL)
        fcntl.fcntl(self._log, fcntl.F_SETFL, flags | os.O_APPEND)
        self._received = b""
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, str(os.getpid())],
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
        """The stream of answers, for ``select``."""
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def send(self, kind: str, payload: Mapping[str, Any]) -> None:
        """Start a job; that the child is gone shows when its answer is read."""
        assert self._process.stdin is not None
        self._log.truncate(0)
        line = json.dumps({"kind": kind, "payload": payload}) + "\n"
        with suppress(BrokenPipeError):
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()

    def receive(self) -> dict[str, Any] | None:
        """Read what has come; the answer if it is whole, else None.

        Raises:
            EOFError: the child ended without an answer.
        """
        chunk = os.read(self.fileno(), 1 << 16)
        if not chunk:
            raise EOFError
        self._received += chunk
        if not self._received.endswith(b"\n"):
            return None
        line, self._received = self._received, b""
        answer: dict[str, Any] = json.loads(line)
        return answer

    def wait_for_exit(self) -> str:
        """Wait for a child that closed its stream, for it is on its way out; see ``kill``."""
        try:
            self._process.wait(EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            return f"a hang at its end, {EXIT_SECONDS:g} seconds long"
        return self.kill()

    def kill(self) -> str:
        """End the child, if it still lives, and all it started; say what it died of.

        The handle is of no use afterwards.
        """
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        code = self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            assert stream is not None
            with suppress(BrokenPipeError):
                stream.close()
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    def stderr(self) -> str:
        """What the child printed since its job began, without the middle if it was much."""
        self._log.seek(0)
        text = self._log.read().decode(errors="replace").strip()
        return text if len(text) <= 2 * KEPT else f"{text[:KEPT]}\n[...]\n{text[-KEPT:]}"


def environment(
    *, interpret: bool, threads: int | None, cache: Path | None, extra: Mapping[str, str]
) -> dict[str, str]:
    """The environment of a worker.

    Args:
        interpret: run kernels in Triton's interpreter; compile them otherwise, whatever the
            parent does.
        threads: of OpenMP, and so of PyTorch on the CPU; None leaves the library's choice.
        cache: Triton's cache folder; None leaves the user's.
        extra: set on top.
    """
    env = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    if interpret:
        env["TRITON_INTERPRET"] = "1"
    if threads is not None:
        env["OMP_NUM_THREADS"] = env["MKL_NUM_THREADS"] = str(threads)
    if cache is not None:
        env["TRITON_CACHE_DIR"] = str(cache)
    # the same package as the parent's, also from a checkout that is not installed
    root = str(Path(str(files("gdn_ops"))).parent)
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [root, env.get("PYTHONPATH")]))
    env["PYTHONSAFEPATH"] = "1"
    return {**env, **extra}
