"""Measuring in a child process, so that a crash or a hang costs only one contender of one case."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import torch

from bench.compare.cases import Case
from bench.compare.contender import Contender
from bench.compare.measuring import Lost, Pace, Uncapturable, measure
from bench.compare.ours import KEEPING, keeping_inverse, ours
from bench.compare.peers import PEERS

SECONDS = 300.0
"""Time limit for one contender of a case, compilation included; then the process is killed."""

Find = Callable[[Sequence[str]], list[Contender]]
"""Returns contenders by name; a module-level function, so that it can be sent to the child."""


def named(names: Sequence[str]) -> list[Contender]:
    """Return contenders by name: peers, ``ours``, ``ours PLAN`` or ``ours keeping inverse``."""
    found = []
    for name in names:
        if name == KEEPING:
            found.append(keeping_inverse())
        elif name.startswith("ours"):
            found.append(ours(name.removeprefix("ours").strip()))
        else:
            found.append(PEERS[name])
    return found


class Child:
    """Measures cases in a child process, and starts a new one after a crash or a hang.

    A contender during whose turn the process dies or hangs fails the case, and the case is
    measured again without it. A contender that hung is skipped in all later cases.

    Args:
        contenders: names for ``find``.
        device: torch device.
        threads: CPU threads of PyTorch.
        pace: rounds and seconds per case.
        find: returns the contenders by name.
        seconds: time limit for one contender of a case.
    """

    def __init__(
        self,
        contenders: Sequence[str],
        *,
        device: str,
        threads: int,
        pace: Pace,
        find: Find = named,
        seconds: float = SECONDS,
    ) -> None:
        self._names, self._seconds = tuple(contenders), seconds
        self._settings = (find, self._names, device, threads, pace)
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection | None = None
        self._eager: dict[tuple[str, bool], set[str]] = {}
        self._hung: dict[str, str] = {}

    def measure(self, case: Case) -> dict[str, Any]:
        """Return what ``measuring.measure`` returns, or ``failed`` with the reason."""
        lost = dict(self._hung)
        while True:
            status, name, content = self._ask(case, frozenset(lost))
            if status == "measured":
                rows = {n: {"failed": why} for n, why in lost.items()}
                return {**content, "contenders": {**content["contenders"], **rows}}
            self.close()
            if status == "uncapturable" and name not in self._eager_of(case):
                self._eager_of(case).add(name)
            elif name and name not in lost:
                lost[name] = content
                if status == "hung":
                    self._hung[name] = f"{content} at {case.name}, and was not tried again"
            else:
                return {"failed": content}

    def close(self) -> None:
        """Kill the child process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
        self._process = self._pipe = None

    def _eager_of(self, case: Case) -> set[str]:
        """Return the contenders that could not be captured in a call of this kind."""
        return self._eager.setdefault((case.op, case.packed), set())

    def _ask(self, case: Case, without: frozenset[str]) -> tuple[str, str, Any]:
        """Return the child's last message: status, contender, and result or reason."""
        name = ""
        try:
            pipe = self._pipe or self._started()
            pipe.send((case, frozenset(self._eager_of(case)), without))
            while pipe.poll(self._seconds):
                status, name, content = pipe.recv()
                if status != "at":
                    return status, name, content
            return "hung", name, f"no answer in {self._seconds:.0f} s"
        except (EOFError, OSError) as error:
            return "died", name, f"the process died ({error or 'no message'})"

    def _started(self) -> Connection:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, *self._settings), daemon=True)
        self._process.start()
        theirs.close()
        return self._pipe


def _serve(
    pipe: Connection, find: Find, names: Sequence[str], device: str, threads: int, pace: Pace
) -> None:
    # Without this, Hugging Face tokenizers print warnings in forked processes.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    contenders = find(names)
    while True:
        case, eager, without = pipe.recv()
        try:
            answer = measure(
                case, [c for c in contenders if c.name not in without],
                device=torch.device(device), threads=threads, pace=pace, eager=eager,
                at=lambda name: pipe.send(("at", name, "")),
            )  # fmt: skip
        except Uncapturable as error:
            pipe.send(("uncapturable", str(error), "could be neither captured nor called eagerly"))
        except Lost as error:
            pipe.send(("lost", error.name, error.why))
        except Exception as error:
            pipe.send(("failed", "", f"{type(error).__name__}: {error}"[:400]))
        else:
            pipe.send(("measured", "", answer))
