"""``triton.experimental.gluon`` of the interpreter: its decorator ``jit``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, wraps
from itertools import product
from typing import Any

import torch

from gdn_ops.gluon_interpreter.memory import Pointer
from gdn_ops.gluon_interpreter.program import Program, program
from gdn_ops.gluon_interpreter.schedule import SEED


def jit(function: Callable[..., Any] | None = None, **_: Any) -> Any:
    """A kernel, ``kernel[grid](*arguments)``; another kernel may call it, too."""
    return Jitted if function is None else Jitted(function)


class Jitted:
    """A Gluon function. Tensors are given to it as such, and reach it as pointers."""

    def __init__(self, function: Callable[..., Any]) -> None:
        wraps(function)(self)
        self._function = function

    def __call__(self, *args: Any, **options: Any) -> Any:
        program()  # it is called from a kernel
        return self._function(*args, **options)

    def __getitem__(self, grid: Sequence[int]) -> Callable[..., None]:
        def launch(*args: Any, **options: Any) -> None:
            given = [Pointer(x) if isinstance(x, torch.Tensor) else x for x in args]
            for index in product(*map(range, grid)):
                Program(index, SEED.get()).run(partial(self._function, *given))

        return launch
