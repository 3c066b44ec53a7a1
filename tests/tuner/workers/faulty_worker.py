"""A worker with jobs that misbehave."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from gdn_ops.codegen.errors import CompileError, InvalidConfig, LaunchError
from gdn_ops.tuner.workers.worker import JOBS
from gdn_ops.workers.worker import main

Payload = dict[str, Any]


def echo(payload: Payload) -> Payload:
    return {**payload, "pid": os.getpid()}


def variables(payload: Payload) -> Payload:
    return {name: os.environ.get(name) for name in payload["names"]}


def modules(payload: Payload) -> Payload:
    return {name: name in sys.modules for name in payload["names"]}


def chatter(payload: Payload) -> Payload:
    print("a library prints", flush=True)
    os.write(1, b"so does C code")
    subprocess.run(["echo", "and a child process"], check=True)
    return {"read": sys.stdin.read()}


def raising(payload: Payload) -> Payload:
    raise RuntimeError("no such luck")


def memory(payload: Payload) -> Payload:
    raise MemoryError("out of it")


def refused(payload: Payload) -> Payload:
    raise {"InvalidConfig": InvalidConfig, "LaunchError": LaunchError}[payload["error"]]("no")


def no_room(payload: Payload) -> Payload:
    """Fail as a disk does that is full, in one of the ways in which that reaches a worker."""
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if payload["error"] == "assembler":
        raise CompileError(f"ptxas fatal: {os.strerror(errno.ENOSPC)}")
    if payload["error"] == "plain":
        raise full
    wrapper = {"CompileError": CompileError, "LaunchError": LaunchError}[payload["error"]]
    raise wrapper("no") from full


def sleep(payload: Payload) -> Payload:
    time.sleep(600)
    raise AssertionError


def killed(payload: Payload) -> Payload:
    if "path" in payload:
        Path(payload["path"]).write_text(payload["text"])
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def abort(payload: Payload) -> Payload:
    print("LLVM ERROR: cannot select", file=sys.stderr, flush=True)
    os.abort()


def segfault(payload: Payload) -> Payload:
    ctypes.string_at(0)
    raise AssertionError


def leave(payload: Payload) -> Payload:
    sys.exit(3)


def hang(payload: Payload) -> Payload:
    """Hang with a child process of its own, and say who they are."""
    child = subprocess.Popen(["sleep", "600"])
    path = Path(payload["path"])
    path.with_suffix(".tmp").write_text(f"{os.getpid()} {child.pid}")
    path.with_suffix(".tmp").rename(path)
    time.sleep(600)
    raise AssertionError


def stopped(payload: Payload) -> Payload:
    """Stop, as by a debugger or ``kill -STOP``."""
    os.kill(os.getpid(), signal.SIGSTOP)
    raise AssertionError


def escape(payload: Payload) -> Payload:
    """Leave a copy of this process, with its open files, in a session of its own; then end."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            path = Path(payload["path"])
            path.with_suffix(".tmp").write_text(str(os.getpid()))
            path.with_suffix(".tmp").rename(path)
            time.sleep(600)
        os._exit(0)
    while not Path(payload["path"]).exists():
        time.sleep(0.01)
    if payload["end"] == "hang":
        time.sleep(600)
    if payload["end"] == "abort":
        os.abort()
    return {}


def linger(payload: Payload) -> Payload:
    """Close every stream, and hang."""
    os.closerange(3, 64)
    time.sleep(600)
    raise AssertionError


def fork(payload: Payload) -> Payload:
    """Return twice, in two processes; the second one later."""
    parent = os.getpid()
    if os.fork() == 0:
        time.sleep(0.2)
    return {"parent": parent, "pid": os.getpid()}


def garble(payload: Payload) -> Payload:
    """Write to every open file, so also to the stream of the answers."""
    for number in range(3, 16):
        with suppress(OSError):
            os.write(number, b"no answer\n")
    return {}


KINDS = (
    echo, variables, modules, chatter, raising, memory, refused, no_room, sleep, killed, abort,
    segfault, leave, hang, stopped, escape, linger, fork, garble,
)  # fmt: skip

if __name__ == "__main__":
    here = "tests.tuner.workers.faulty_worker"
    main({**JOBS, **{kind.__name__: f"{here}:{kind.__name__}" for kind in KINDS}})
