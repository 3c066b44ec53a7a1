"""A worker with jobs that misbehave."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from gdn_ops.tuner.worker import JOBS, main

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


KINDS = (echo, variables, modules, chatter, raising, memory, abort, segfault, leave, hang)

if __name__ == "__main__":
    main(
        {**JOBS, **{kind.__name__: f"tests.tuner.faulty_worker:{kind.__name__}" for kind in KINDS}}
    )
