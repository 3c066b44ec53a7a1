"""The calls of a problem that are timed: argument sets of the same lengths and different values."""

from __future__ import annotations

import torch

from gdn_ops.codegen.problem import Problem
from gdn_ops.inputs.rule_inputs import Layout, random_call
from gdn_ops.launch.call import Call
from gdn_ops.launch.pool_call import PoolCall
from gdn_ops.tuner.measure.timers import Timer
from gdn_ops.verify.expected import inputs_of

MOST_KEPT_BYTES = 1 << 30
"""Larger calls are made anew for each measurement, so that they leave the memory to others."""


def calls_of(problem: Problem, timer: Timer, device: torch.device) -> list[Call]:
    """As many argument sets as the timer needs."""
    layout = Layout.of(problem)
    first = random_call(problem, device=device, layout=layout)
    others = range(1, timer.argument_sets(_bytes(first)))
    return [first, *(random_call(problem, device=device, seed=i, layout=layout) for i in others)]


class KeptCalls:
    """The calls of the last problem, for a process that measures many variants of it.

    Random numbers for a long sequence take a CPU about as long as three calls of a fast variant.
    Pools are not kept, because calls change them.
    """

    def __init__(self) -> None:
        self._key: tuple[object, ...] | None = None
        self._calls: list[Call] = []

    def of(self, problem: Problem, timer: Timer, device: torch.device) -> list[Call]:
        """As ``calls_of``; the same tensors if the last problem was the same."""
        key = problem, type(timer), device
        if key == self._key:
            return self._calls
        self._key, self._calls = None, []  # free them before others are made
        calls = calls_of(problem, timer, device)
        if problem.op != "pool" and sum(map(_bytes, calls)) <= MOST_KEPT_BYTES:
            self._key, self._calls = key, calls
        return calls


def _bytes(call: Call) -> int:
    """Bytes of the inputs and of o, which is as large as v."""
    inputs = sum(x.nbytes for x in inputs_of(call).values())
    pool = call.pool.nbytes if isinstance(call, PoolCall) else 0
    return inputs + pool + call.v.nbytes
