"""The seed that decides the order in which the partitions of a program run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

SEED: ContextVar[int] = ContextVar("seed", default=0)


@contextmanager
def scheduled(seed: int) -> Iterator[None]:
    """Context manager: kernels run in the order of this seed. Correct kernels give equal bits."""
    token = SEED.set(seed)
    try:
        yield
    finally:
        SEED.reset(token)
