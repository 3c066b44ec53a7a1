"""flash-linear-attention's Triton kernels in Triton's interpreter, where there is no GPU."""

from __future__ import annotations

import importlib
from builtins import range as plain_range
from collections.abc import Iterator
from typing import Any

import pytest

LOOPS = ("fla.ops.common.chunk_delta_h",)
"""Modules whose kernels convert the counter of a loop, which must be a tensor for that."""


def interpret(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the installed release run in the interpreter.

    Its kernels take their first config: to choose one, they would be timed on a GPU.
    """
    import triton.language as tl
    from triton.runtime.autotuner import Autotuner

    run = Autotuner.run

    def first(self: Any, *args: Any, **options: Any) -> Any:
        configs, self.configs = self.configs, self.configs[:1]
        try:
            return run(self, *args, **options)
        finally:
            self.configs = configs

    def counted(*bounds: Any) -> Iterator[Any]:
        for i in plain_range(*map(int, bounds)):
            yield tl.full((), i, tl.int32)

    monkeypatch.setattr(Autotuner, "run", first)
    for name in LOOPS:
        monkeypatch.setattr(importlib.import_module(name), "range", counted, raising=False)
