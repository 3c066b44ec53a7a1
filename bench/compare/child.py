"""The process that measures: it may crash or hang, which costs one case."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

import torch

from bench.compare.cases import Case
from bench.compare.measuring import Pace, Uncapturable, measure
from bench.compare.ours import ours
from bench.compare.peers import PEERS

SECONDS = 180.0
"""For one case of one process, compiling included; then it is killed."""


class Child:
    """Measures case after case in one process, and in a new one where that ends."""

    def __init__(self, contenders: Sequence[str], *, device: str, threads: int, pace: Pace) -> None:
        self._settings = (tuple(contenders), device, threads, pace)
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection | None = None
        self._eager: set[str] = set()

    def measure(self, case: Case) -> dict[str, Any]:
        """What ``measuring.measure`` returns, or ``failed`` and why."""
        for _ in range(1 + len(self._settings[0])):
            answer = self._ask(case)
            name = answer.get("uncapturable")
            if name is None:
                return answer
            self._eager.add(name)
            self.close()
        return {"failed": "no contender can be captured"}

    def close(self) -> None:
        """End the process, whatever it does."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
        self._process = self._pipe = None

    def _ask(self, case: Case) -> dict[str, Any]:
        if self._pipe is None:
            context = multiprocessing.get_context("spawn")
            self._pipe, theirs = context.Pipe()
            self._process = context.Process(
                target=_serve, args=(theirs, *self._settings), daemon=True
            )
            self._process.start()
            theirs.close()
        try:
            self._pipe.send((case, frozenset(self._eager)))
            if self._pipe.poll(SECONDS):
                answer: dict[str, Any] = self._pipe.recv()
                return answer
            why = f"no answer in {SECONDS:.0f} s"
        except (EOFError, OSError) as error:
            why = f"the process died ({error or 'no message'})"
        self.close()
        return {"failed": why}


def named(names: Sequence[str]) -> list[Any]:
    """The contenders of some names; ``ours`` or ``ours PLAN`` for ours."""
    return [
        ours(name.removeprefix("ours").strip()) if name.startswith("ours") else PEERS[name]
        for name in names
    ]


def _serve(pipe: Connection, names: Sequence[str], device: str, threads: int, pace: Pace) -> None:
    # what a peer's compiler prints belongs to no table
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    contenders = named(names)
    while True:
        case, eager = pipe.recv()
        try:
            answer = measure(
                case, contenders, device=torch.device(device), threads=threads, pace=pace,
                eager=eager,
            )  # fmt: skip
        except Uncapturable as error:
            answer = {"uncapturable": str(error)}
        except Exception as error:
            answer = {"failed": f"{type(error).__name__}: {error}"[:400]}
        pipe.send(answer)
