"""Watch that no two stores of kernels in the interpreter write the same place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
from triton.runtime.interpreter import InterpreterBuilder


@contextmanager
def writes_once() -> Iterator[None]:
    """Fail at a store, not masked away, to where one was before: on a GPU it would be a race."""
    seen: set[int] = set()
    store = InterpreterBuilder.create_masked_store

    def watched(builder: Any, ptrs: Any, value: Any, mask: Any, *rest: Any) -> Any:
        kept = np.broadcast_to(mask.data, ptrs.data.shape).astype(bool)
        addresses = ptrs.data[kept].tolist()
        assert seen.isdisjoint(addresses), "a second store to the same place"
        seen.update(addresses)
        return store(builder, ptrs, value, mask, *rest)

    with mock.patch.object(InterpreterBuilder, "create_masked_store", watched):
        yield
