"""Rates: how fast PyTorch works on this CPU, measured when first needed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch

REPEATS = 7
SQUARE = 512
"""Rows and columns of the matrices whose product is timed."""
SHARED = 1 << 16
"""Elements of a tensor that is small, but large enough for PyTorch to use every thread."""
LARGE, MANY = 1 << 21, 12
"""Elements of each tensor, and their number, so that together they do not fit in the caches."""
FRESH = 40 << 18
"""Elements of a tensor so large that the C library returns its memory to the system."""


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What PyTorch reaches with its current number of threads.

    Args:
        flops: FLOP/s of matrix products by dtype.
        moved: bytes/s of elementwise operations on tensors that are not in a cache.
        fresh: bytes/s of writing memory that is new to the process, with its page faults.
        op: seconds that an operation on all threads takes besides moving its bytes.
    """

    flops: dict[torch.dtype, float]
    moved: float
    fresh: float
    op: float


@cache
def cpu_rates(threads: int) -> Rates:
    """Measure this CPU; takes half a second, once per number of threads.

    Args:
        threads: PyTorch's number of threads, which the caller has set.
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
    """Seconds per call in the fastest of ``REPEATS`` batches."""
    best = float("inf")
    for _ in range(REPEATS):
        start = time.perf_counter()
        for _ in range(calls):
            run()
        best = min(best, (time.perf_counter() - start) / calls)
    return best
