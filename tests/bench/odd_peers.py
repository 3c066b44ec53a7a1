"""Contenders that behave badly, for a process of its own to meet."""

from __future__ import annotations

import os
from collections.abc import Sequence

from bench.compare.cases import Case
from bench.compare.contender import Bound, Contender, Outputs
from bench.compare.inputs import Inputs
from bench.compare.ours import ours


def contender(name: str, bind: object, eager: tuple[str, ...] = ()) -> Contender:
    return Contender(name, "", "x", "", lambda case, device: "", bind, eager)  # type: ignore[arg-type]


def dying(case: Case, x: Inputs) -> Bound:
    os._exit(3)


def changing(case: Case, x: Inputs) -> Bound:
    right = ours().bind(case, x)

    def run() -> Outputs:
        outputs = right()
        x.h0.mul_(0.5)
        return outputs

    return run


def doubling(case: Case, x: Inputs) -> Bound:
    right = ours().bind(case, x)
    return lambda: {name: 2 * output for name, output in right().items()}


def found(names: Sequence[str]) -> list[Contender]:
    known = {"ours": ours(), "dying": contender("dying", dying)}
    return [known[name] for name in names]
