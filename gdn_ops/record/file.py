"""The file of a recording: a workload for ``gdn tune``, with a count per problem."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from gdn_ops.codegen.problem import Problem
from gdn_ops.errors import InvalidInput

COUNT = "count"
"""The key of a problem's calls, beside its facts."""
MOST = 2**53
"""Largest count: every reader of JSON has it exactly."""
SECONDS_BETWEEN_TRIES = 0.05


class BusyFile(Exception):
    """Another process is writing."""


def check_name(path: Path) -> None:
    """Check that ``gdn tune`` will read a file of this name.

    Raises:
        InvalidInput: it does not end in ``.json``.
    """
    if path.suffix != ".json":
        raise InvalidInput(f"{path} does not end in .json, as a recording must; rename it.")


def add_counts(path: Path, counts: Mapping[Problem, int], *, seconds: float = 0.0) -> None:
    """Add the calls of each problem to a file, which is written anew as a whole.

    Processes that add to the same file take turns, so that no count is lost. That needs POSIX
    locks; on Windows give each process a file of its own.

    Args:
        path: the file; it need not exist.
        counts: calls by problem.
        seconds: how long to wait for another process.

    Raises:
        BusyFile: another process was writing all the time.
        InvalidInput: the file is not a recording; it is left as it is.
        OSError: it cannot be read or written.
    """
    path = Path(os.path.realpath(path))  # of a link, what it points to is replaced
    with _turn(path, seconds):
        rows = read_rows(path)
        known = {_key(row): row for row in rows}
        for problem, count in counts.items():
            facts = problem.facts()
            row = known.get(_key(facts))
            if row is None:
                rows.append(row := {**facts, COUNT: 0})
            row[COUNT] = min(MOST, row[COUNT] + count)
        rows.sort(key=lambda row: (-row[COUNT], _key(row)))
        lines = ",\n".join(f"    {json.dumps(row)}" for row in rows)
        _replace(path, f'{{\n  "problems": [\n{lines}\n  ]\n}}\n')


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a recording, each with its count; none if there is no file.

    Raises:
        InvalidInput: the file is something else.
        OSError: it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    except UnicodeDecodeError:
        text = "?"
    if not text:  # made by ``_turn``, and then its maker was killed
        return []
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        data = None
    rows = data.get("problems") if isinstance(data, dict) else None
    if not isinstance(rows, list) or not all(map(_is_row, rows)):
        raise InvalidInput(
            "the file exists and is not a recording, so it is left as it is; give another name."
        )
    return rows


def _is_row(row: object) -> bool:
    return isinstance(row, dict) and type(row.get(COUNT)) is int and 0 < row[COUNT] <= MOST


def _key(row: Mapping[str, Any]) -> str:
    return json.dumps({k: v for k, v in row.items() if k != COUNT}, sort_keys=True)


@contextmanager
def _turn(path: Path, seconds: float) -> Iterator[None]:
    """Hold the lock of a file that every holder may replace; it is made if there is none."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    until = time.monotonic() + seconds
    while True:
        # Opened to write, because locks on network file systems need that.
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Otherwise it was replaced in between, and this is the lock of the old one.
                ours = os.path.samestat(os.fstat(handle), os.stat(path))
            except (BlockingIOError, FileNotFoundError):
                ours = False
            if ours:
                yield
                return
        finally:
            # closing does not unlock it while a process that was forked meanwhile has it open, too
            with suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_UN)
            os.close(handle)
        if time.monotonic() >= until:
            raise BusyFile(f"other processes have been writing to it for {seconds:.0f} seconds.")
        time.sleep(SECONDS_BETWEEN_TRIES)


def _replace(path: Path, text: str) -> None:
    """Write a file completely or not at all, and leave no temporary file."""
    part = path.with_name(f".{path.name}-{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise
