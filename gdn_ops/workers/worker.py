"""A child process that runs jobs, and that may crash in one.

A module whose ``main`` calls the ``main`` here with its jobs is started as ``python -m MODULE
PARENT``, with the parent's process id.

It reads one JSON object per line and answers each with one::

    {"kind": "compile", "payload": {...}}
    {"status": "ok", "payload": {...}, "message": "", "seconds": 0.8}

The lines are sent over private copies of standard input and output. What a library prints goes to
standard error, so it cannot corrupt them. The process ends when its parent ends, and with it every
process that its jobs have started (see ``gdn_ops.workers.keeper``).
"""

from __future__ import annotations

import errno
import gc
import importlib
import json
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TextIO

from gdn_ops.codegen.errors import (
    CompileError,
    GdnError,
    InvalidConfig,
    LaunchError,
    TemplateError,
    UnsupportedProblem,
)
from gdn_ops.workers.keeper import keep

REFUSALS = (InvalidConfig, LaunchError, TemplateError, UnsupportedProblem)
"""Errors that say that the job itself cannot be done as asked."""


def main(jobs: Mapping[str, str]) -> None:
    """Answer jobs until standard input ends.

    Args:
        jobs: ``module:function`` of each kind; the function takes and returns a JSON object.
    """
    keep(int(sys.argv[1]))
    inbox, outbox = _private_streams()
    own = os.getpid()
    for line in inbox:
        answer = _answer(json.loads(line), jobs)
        if os.getpid() != own:
            os._exit(0)  # a fork of a job that returned too: the job has one answer
        # one write, so that a kill leaves a whole line or none
        outbox.write(json.dumps(answer) + "\n")
        outbox.flush()


def status_of(error: BaseException) -> str:
    """The status of a job that raised: fault, invalid, compile-error, oom or error.

    ``fault`` is a fault of the environment, such as a full disk, whatever exception wraps it. It
    says nothing about the variant.
    """
    if any(_is_fault(cause) for cause in _causes(error)):
        return "fault"
    if isinstance(error, REFUSALS):
        return "invalid"
    if isinstance(error, CompileError):
        return "compile-error"
    # PyTorch's error is recognized by name, so that a worker need not import PyTorch
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "oom"
    if any(_is_out_of_memory(str(cause)) for cause in _causes(error)):
        return "oom"
    return "error"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _is_out_of_memory(text: str) -> bool:
    # what drivers say through Triton and cuBLAS, whose errors have no type of their own
    return "out of memory" in text.lower() or "ALLOC_FAILED" in text


def _is_fault(error: BaseException) -> bool:
    # an assembler that ran out of disk space only prints it
    # and Triton says how one ended that was killed
    killed = re.search(r"error code:? -(9|15)\b", str(error))
    return isinstance(error, OSError) or bool(killed) or os.strerror(errno.ENOSPC) in str(error)


def _answer(job: Mapping[str, Any], jobs: Mapping[str, str]) -> dict[str, Any]:
    start = time.perf_counter()
    payload, status, message = None, "ok", ""
    try:
        payload = _function(jobs[job["kind"]])(job["payload"])
    except Exception as error:
        status, message = status_of(error), str(error)
        if not isinstance(error, GdnError):
            message = f"{type(error).__name__}: {error}"
            traceback.print_exc()
    if status != "ok":
        # the frames of a chained error form cycles and may keep GPU tensors alive
        gc.collect()
    sys.stdout.flush()
    seconds = time.perf_counter() - start
    return {"status": status, "payload": payload, "message": message, "seconds": seconds}


def _function(path: str) -> Callable[[Any], dict[str, Any]]:
    module, _, name = path.partition(":")
    function: Callable[[Any], dict[str, Any]] = getattr(importlib.import_module(module), name)
    return function


def _private_streams() -> tuple[TextIO, TextIO]:
    """Take standard input and output for the protocol; prints go to standard error from now on."""
    inbox, outbox = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return os.fdopen(inbox), os.fdopen(outbox, "w")
