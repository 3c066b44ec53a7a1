"""Precision: where PyTorch rounds no product more than a variant was checked with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch


def exact(kind: str) -> AbstractContextManager[Any]:
    """Out of autocast, and of reduced fp32 products: a variant was checked with its precisions."""
    if torch.get_float32_matmul_precision() != "highest":
        return _full_precision(kind)
    if torch.is_autocast_enabled(kind):
        return torch.autocast(kind, enabled=False)
    return nullcontext()


@contextmanager
def _full_precision(kind: str) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(kind, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
