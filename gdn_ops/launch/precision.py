"""Precision: PyTorch settings under which products are as exact as when a variant was checked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch


def exact(kind: str) -> AbstractContextManager[Any]:
    """Context manager: turn off autocast and reduced-precision fp32 products (TF32).

    The accuracy of variants was checked without them.

    Args:
        kind: the device type, e.g. ``cuda``.
    """
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
