"""Stage: one part of a campaign, as commands with a share of the time."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench import UNFINISHED

ROOT = Path(__file__).parents[2]

GRACE = 15.0
"""Seconds that a command which minds the time may be late before it is ended."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """One process; what it prints goes to a log in the campaign's folder.

    Args:
        env: variables besides the campaign's own.
        needed: its failure is the stage's.
    """

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    needed: bool = True


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of a campaign.

    Args:
        doc: what comes of it.
        share: of the campaign's minutes, at the most.
        least: seconds below which it is not begun.
        commands: for so many seconds; they go on where an earlier call stopped.
        refuses: why it cannot run here; empty if it can.
    """

    name: str
    doc: str
    share: float
    least: float
    commands: Callable[[float], Sequence[Command]]
    refuses: Callable[[], str] = lambda: ""


@dataclass(frozen=True)
class Ended:
    """How a stage ended: ``done``, ``unfinished`` or ``failed``, after some seconds."""

    status: str
    seconds: float
    detail: str = ""


def run(stage: Stage, seconds: float, log: Path) -> Ended:
    """Run a stage's commands one after another; what they print is appended to the log.

    Args:
        seconds: for all of them; one that takes longer is ended and the stage left unfinished.
    """
    start = time.monotonic()
    status, detail = "done", ""
    with log.open("a") as file:
        for command in stage.commands(seconds):
            left = seconds - (time.monotonic() - start)
            code = _run(command, max(1.0, left) + GRACE, file)
            if code is None or code == UNFINISHED:
                status, detail = "unfinished", "" if code else "its time ran out"
                break
            if code and command.needed:
                status, detail = "failed", f"exit status {code}; see {log}"
    return Ended(status, time.monotonic() - start, detail)


def _run(command: Command, seconds: float, file: object) -> int | None:
    """The exit status; None where it was ended for the time."""
    env = {**os.environ, **command.env}
    process = subprocess.Popen(
        command.argv, cwd=ROOT, env=env, stdout=file, stderr=subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started; politely first, so that it can settle its rows."""
    for number, patience in ((15, 5.0), (9, 5.0)):
        try:
            os.killpg(process.pid, number)
            process.wait(patience)
        except (ProcessLookupError, PermissionError):
            return
        except subprocess.TimeoutExpired:
            continue
