"""Keeper: a process between the parent and a worker, which outlives neither and leaves nobody.

A job may start processes that leave the worker's process group, and a worker that crashes cannot
end them. They would hold memory, the GPU, and the stream of the answers, so that the parent waits
for a dead worker until the time limit. Linux gives all of them to the keeper, which is their
subreaper, and it ends them once the worker has ended or the parent wants it to.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGXCPU)
"""Signals at which a keeper ends its worker, and itself."""
FIRST_PAUSE, LONGEST_PAUSE = 0.002, 0.1
"""Seconds between two looks for processes that are still there."""


def keep(parent: int) -> None:
    """Fork: the child returns from here as the worker, which this process then keeps.

    The worker ends when its keeper does, and the keeper when its parent does. Elsewhere than on
    Linux nothing happens: a worker ends there when its standard input does.

    Args:
        parent: the process id of the parent.
    """
    if sys.platform != "linux":
        return
    signals = {signal.SIGCHLD, *ENDING}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    _die_with(parent, signal.SIGTERM)
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    own = os.getpid()
    worker = os.fork()
    if worker == 0:
        _die_with(own, signal.SIGKILL)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    _keep(worker, signals)


def _keep(worker: int, signals: set[signal.Signals]) -> NoReturn:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # the streams are the worker's alone, so that the parent finds them closed when it has ended
    for stream in (0, 1, 2):
        os.close(stream)
    status: int | None = None
    while status is None:
        number = signal.sigwait(signals)
        if number != signal.SIGCHLD:
            _end_all()
            _end_as(number)
        status = _reaped().get(worker)
    _end_all()
    if os.WIFSIGNALED(status):
        _end_as(os.WTERMSIG(status))
    os._exit(os.waitstatus_to_exitcode(status))


def _end_all() -> None:
    """Kill all processes that descend from this one, wherever they went, and wait for them."""
    pause = FIRST_PAUSE
    with suppress(ChildProcessError):
        while True:
            for child in _children():
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(child, signal.SIGKILL)
            # the children of those that ended are this process's now
            _reaped()
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)


def _reaped() -> dict[int, int]:
    """The statuses of the children that have ended; raises ChildProcessError if there are none."""
    found: dict[int, int] = {}
    while True:
        try:
            child, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            if found:
                return found
            raise
        if child == 0:
            return found
        found[child] = status


def _children() -> list[int]:
    """The processes whose parent is this one."""
    own, found = os.getpid(), []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            # a name may have spaces and brackets, so the fields are those after the last bracket
            with suppress(OSError, IndexError):
                fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
                if int(fields[1]) == own:
                    found.append(int(entry.name))
    return found


def _end_as(number: int) -> NoReturn:
    """End by the signal that ended the worker, so that the parent sees that."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the worker's core is the one that tells
    with suppress(OSError):  # SIGKILL has no handler
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os._exit(128 + number)


def _die_with(parent: int, number: int) -> None:
    """Get a signal when the parent ends; exit if it has ended already."""
    _prctl(PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        sys.exit("the parent ended before the worker started")


def _prctl(option: int, argument: int) -> None:
    ctypes.CDLL(None).prctl(option, argument, 0, 0, 0)
