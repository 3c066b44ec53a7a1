"""Recorder: counts the problems that calls pose, and adds the counts to a file now and then."""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from multiprocessing import util
from pathlib import Path

from gdn_ops.codegen.errors import shown
from gdn_ops.codegen.problem import Problem
from gdn_ops.errors import InvalidInput
from gdn_ops.record.file import BusyFile, add_counts, check_name
from gdn_ops.results_path import RECORD_VARIABLE, expanded, recording_path

SECONDS_BETWEEN_WRITES = 10.0
"""A process that is killed loses the calls of this time at most."""
SECONDS_TO_WAIT = 10.0
"""How long the last write waits for other processes; the others leave it to the next one."""


class Recorder:
    """Counts the problems that calls pose, and adds the counts to a file.

    Args:
        path: the file; the counts are added to those that it has.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.start_anew()

    def start_anew(self) -> None:
        """Forget the counts, also in a child process: there they are the parent's."""
        self._lock, self._writing = threading.Lock(), threading.Lock()
        self._unwritten: Counter[Problem] = Counter()
        self._total: Counter[Problem] = Counter()
        # The first call is written at once, so that a file that cannot be written is known then.
        self._next = -inf
        self._warned = False

    @property
    def counts(self) -> dict[Problem, int]:
        """The calls so far, by the bucket of their problem."""
        with self._lock:
            return _by_bucket(self._total)

    def add(self, problem: Problem) -> None:
        """Count a call, unless it has no tokens. A file that cannot be written is no error."""
        if problem.tokens == 0:
            return
        with self._lock:
            self._unwritten[problem] += 1
            self._total[problem] += 1
            due = time.monotonic() >= self._next
        if due:
            self.write()

    def write(self, *, seconds: float = 0.0) -> None:
        """Add what is not written yet to the file; if that fails, warn once and keep it.

        Args:
            seconds: how long to wait for another process that is writing.
        """
        if not self._writing.acquire(timeout=seconds):
            return
        try:
            with self._lock:
                counts, self._unwritten = self._unwritten, Counter()
                self._next = time.monotonic() + SECONDS_BETWEEN_WRITES
            if not counts:
                return
            try:
                add_counts(self.path, _by_bucket(counts), seconds=seconds)
            except BusyFile as busy:
                self._give_back(counts)
                if seconds:
                    self._warn(str(busy))
            except OSError as error:
                self._give_back(counts)
                self._warn(f"{error}; check the path and its permissions.")
            except InvalidInput as error:
                self._give_back(counts)
                self._warn(str(error))
        finally:
            self._writing.release()

    def _give_back(self, counts: Counter[Problem]) -> None:
        with self._lock:
            self._unwritten.update(counts)

    def _warn(self, why: str) -> None:
        if self._warned:
            return
        self._warned = True
        warnings.warn(
            f"the calls of this process are not recorded in {self.path}: {why} The calls are not "
            "affected.",
            RuntimeWarning,
            stacklevel=2,
        )


RECORDERS: list[Recorder] = []
"""The recorders that are on. Calls look here first, because nearly always there is none."""


def record(problem: Problem) -> None:
    """Count a call in every recorder that is on."""
    for recorder in tuple(RECORDERS):
        recorder.add(problem)


@contextmanager
def recording(path: str | os.PathLike[str]) -> Iterator[Recorder]:
    """Context manager: write down which problems the calls of this process pose, and how often.

    Sizes are rounded up to powers of two, as ``gdn tune`` tunes them. Gradients are counted when
    they are computed. Calls inside torch.compile are counted each time the compiled function runs,
    but a replay of a CUDA graph makes no call. Calls in float64 have no variants and are not
    counted. All threads of the process are recorded.

    The file is for ``gdn tune FILE``. Counts are added to those that it has, also by several
    processes at the same time; delete it to start anew. It is replaced as a whole every 10
    seconds and at the end of the block, so that it is valid at any moment. If it cannot be written,
    there is one warning, and the calls get their results.

    The environment variable ``GDN_RECORD=FILE`` records a whole process without a change of code.

    Args:
        path: the file to write, whose name ends in ``.json``.

    Yields:
        The recorder; its ``counts`` are the calls so far by problem.

    Raises:
        InvalidInput: the path has the wrong type or does not end in ``.json``.
    """
    if not isinstance(path, str | os.PathLike):
        raise InvalidInput(f"recording({shown(path)}) is no path; give one such as 'calls.json'.")
    file = expanded(Path(path), "the path").absolute()
    check_name(file)
    recorder = Recorder(file)
    RECORDERS.append(recorder)
    try:
        yield recorder
    finally:
        RECORDERS.remove(recorder)
        recorder.write(seconds=SECONDS_TO_WAIT)


def _by_bucket(counts: Counter[Problem]) -> dict[Problem, int]:
    found: Counter[Problem] = Counter()
    for problem, count in counts.items():
        found[problem.bucket()] += count
    return dict(found)


def _record_process() -> None:
    """Record the whole process if the environment asks for it."""
    try:
        path = recording_path()
        if path is None:
            return
        check_name(path)
    except InvalidInput as error:
        warnings.warn(f"{RECORD_VARIABLE} is ignored: {error}", RuntimeWarning, stacklevel=2)
        return
    recorder = Recorder(path)
    RECORDERS.append(recorder)
    _write_at_exit(recorder)


def _write_at_exit(recorder: Recorder) -> None:
    """Write when this process ends, or a child process that multiprocessing forks from it."""
    # Children of multiprocessing run these finalizers, but not those of atexit.
    util.Finalize(None, recorder.write, kwargs={"seconds": SECONDS_TO_WAIT}, exitpriority=0)
    util.register_after_fork(recorder, _write_at_exit)


def _after_fork() -> None:
    for recorder in RECORDERS:
        recorder.start_anew()


_record_process()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
