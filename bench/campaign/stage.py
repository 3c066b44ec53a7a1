"""Stage: one part of a campaign, made of commands, with a share of the time."""

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
"""Seconds by which a command may exceed its time limit before it is stopped."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """One process; its output goes to a log in the campaign's folder.

    Args:
        argv: the command line.
        env: additional environment variables.
        needed: whether the stage fails if the command fails.
    """

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    needed: bool = True


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of a campaign.

    Args:
        name: its name.
        doc: what it measures.
        share: the largest fraction of the campaign's time that it may take.
        least: the seconds it needs; with less time it is not started.
        commands: returns its commands for a time limit in seconds; they resume earlier work.
        refuses: returns why it cannot run here; empty if it can.
    """

    name: str
    doc: str
    share: float
    least: float
    commands: Callable[[float], Sequence[Command]]
    refuses: Callable[[], str] = lambda: ""


@dataclass(frozen=True)
class Ended:
    """How a stage ended: its status (``done``, ``unfinished`` or ``failed``) and duration."""

    status: str
    seconds: float
    detail: str = ""


def run(stage: Stage, seconds: float, log: Path) -> Ended:
    """Run the commands of a stage one after another, and append their output to the log.

    Args:
        stage: the stage.
        seconds: time limit for all commands; at the limit the command is stopped and the stage is
            unfinished.
        log: the log file.
    """
    start = time.monotonic()
    status, detail = "done", ""
    with log.open("a") as file:
        for command in stage.commands(seconds):
            remaining = seconds - (time.monotonic() - start)
            code = _run(command, max(1.0, remaining) + GRACE, file)
            if code is None or code == UNFINISHED:
                status, detail = "unfinished", "" if code else "out of time"
                break
            if code and command.needed:
                status, detail = "failed", f"exit status {code}; see {log}"
    return Ended(status, time.monotonic() - start, detail)


def _run(command: Command, seconds: float, file: object) -> int | None:
    """Run a command and return its exit status; None if it was stopped at the time limit."""
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
    """Stop a process group: SIGTERM first, so that it can store its rows, then SIGKILL."""
    for number, patience in ((15, 5.0), (9, 5.0)):
        try:
            os.killpg(process.pid, number)
            process.wait(patience)
        except (ProcessLookupError, PermissionError):
            return
        except subprocess.TimeoutExpired:
            continue
