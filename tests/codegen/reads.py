"""Watch that a kernel in the interpreter loads from its own tensors only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
from torch import Tensor
from triton.runtime.interpreter import InterpreterBuilder


@contextmanager
def reads_inside(tensors: Iterable[Tensor]) -> Iterator[None]:
    """Fail at a load, not masked away, from outside the tensors."""
    spans = [(x.data_ptr(), x.data_ptr() + x.numel() * x.element_size()) for x in tensors]
    load = InterpreterBuilder.create_masked_load

    def watched(builder: Any, ptrs: Any, mask: Any, *rest: Any, **named: Any) -> Any:
        addresses = ptrs.data[np.broadcast_to(mask.data, ptrs.data.shape).astype(bool)]
        if addresses.size:
            first, last = addresses.min(), addresses.max()
            if not any(start <= first and last < end for start, end in spans):  # of one tensor
                inside = [(addresses >= start) & (addresses < end) for start, end in spans]
                assert np.logical_or.reduce(inside).all(), "a load from outside the tensors"
        return load(builder, ptrs, mask, *rest, **named)

    with mock.patch.object(InterpreterBuilder, "create_masked_load", watched):
        yield
