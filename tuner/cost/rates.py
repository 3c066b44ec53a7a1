"""Rates: what PyTorch does in a second on a CPU, measured in passing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch

REPEATS = 7
SQUARE = 512
"""Side of the matrices whose product is timed."""
SHARED = 1 << 16
"""Elements of a tensor that is small, and yet worth the while of every thread."""
LARGE, MANY = 1 << 21, 12
"""Elements of tensors, and how many of them, that push each other out of the caches."""
FRESH = 40 << 18
"""Elements of a tensor too large for the C library to keep its memory."""


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What PyTorch reaches with its present number of threads.

    Args:
        flops: FLOP/s of matrix products by dtype.
        moved: bytes/s of elementwise operations on tensors that are in no cache.
        fresh: bytes/s of writing memory that the process was just given, page faults and all.
        op: seconds of an operation that is shared among the threads, before its first byte.
    """

    flops: dict[torch.dtype, float]
    moved: float
    fresh: float
    op: float


@cache
def cpu_rates(threads: int) -> Rates:
    """Measure this CPU, which takes half a second.

    Args:
        threads: of PyTorch, to be remembered by; the caller has set them.
    """
    small, fresh = torch.zeros(SHARED), torch.zeros(FRESH)
    large = [torch.zeros(LARGE) for _ in range(MANY)]
    filled = _least(lambda: fresh.fill_(1.0), 1)
    return Rates(
        flops={dtype: _product_rate(dtype) for dtype in (torch.float32, torch.bfloat16)},
        moved=2 * MANY * _bytes(large[0]) / _least(lambda: [x.mul_(1.0) for x in large], 1),
        fresh=_bytes(fresh) / max(1e-9, _least(lambda: torch.empty(FRESH).fill_(1.0), 1) - filled),
        op=_least(lambda: small.mul_(1.0), 200),
    )


def _bytes(x: torch.Tensor) -> int:
    return x.numel() * x.element_size()


def _product_rate(dtype: torch.dtype) -> float:
    a = torch.randn(SQUARE, SQUARE).to(dtype)
    return 2 * SQUARE**3 / _least(lambda: a @ a, 2)


def _least(run: Callable[[], object], calls: int) -> float:
    """Seconds a call in the quickest of some batches."""
    best = float("inf")
    for _ in range(REPEATS):
        start = time.perf_counter()
        for _ in range(calls):
            run()
        best = min(best, (time.perf_counter() - start) / calls)
    return best
