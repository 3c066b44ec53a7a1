"""Autograd of the stand-in GPU: on a thread of its own, where no context variable is set."""

from __future__ import annotations

import threading
from typing import Any

import torch

from tests.stand_in.tensor import GpuTensor

_run = torch.autograd.graph._engine_run_backward


def install() -> None:
    torch.autograd._engine_run_backward = backward  # type: ignore[assignment, attr-defined]


def backward(roots: Any, *args: Any, **options: Any) -> Any:
    """Run the engine as CUDA's does, whose devices have threads."""
    if not any(isinstance(x, GpuTensor) for x in roots):
        return _run(roots, *args, **options)
    answer: list[Any] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            answer.append(_run(roots, *args, **options))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return answer[0]
