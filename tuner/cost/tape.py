"""Tape: records the operations of a stage in PyTorch without computing anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_FREE = ("aten::empty", "aten::empty_like", "aten::new_empty", "aten::empty_strided")


@dataclass(frozen=True)
class Op:
    """One operation.

    Args:
        name: name in PyTorch's schema, e.g. ``aten::bmm``.
        bytes: bytes of all tensors that it reads and writes.
        fresh: bytes of the results that it allocates.
        flops: FLOPs of a matrix product or triangular solve, else 0.
        rows: rows of the left operand of one product in a batch.
        dtype: dtype of a product's operands.
    """

    name: str
    bytes: int
    fresh: int = 0
    flops: float = 0.0
    rows: int = 0
    dtype: torch.dtype | None = None


class Tape(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records the operations that run inside, on tensors of the device ``meta``.

    ``ops`` has the operations that move bytes, in order. Views and uninitialized tensors cost
    nothing and are left out.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.ops: list[Op] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        given = kwargs or {}
        result = func(*args, **given)
        if not _moves_nothing(func):
            self.ops.append(_op(func._schema.name, [*args, *given.values()], result))
        return result


def _moves_nothing(func: Any) -> bool:
    aliases = [argument.alias_info for argument in func._schema.arguments]
    view = any(alias is not None and not alias.is_write for alias in aliases)
    return view or func._schema.name in _FREE


def _op(name: str, given: list[Any], result: Any) -> Op:
    operands = list(_tensors(given))
    known = {id(x) for x in operands}
    made = [x for x in _tensors(result) if id(x) not in known]
    fresh = sum(_size(x) for x in made)
    size = sum(_size(x) for x in operands) + fresh
    if name in ("aten::mm", "aten::bmm", "aten::linalg_solve_triangular"):
        left, right = operands[:2]
    elif name.startswith(("aten::addmm", "aten::baddbmm")):
        left, right = operands[1:3]
    else:
        return Op(name, size, fresh)
    # a triangular matrix is half empty
    each = 1.0 if name == "aten::linalg_solve_triangular" else 2.0
    flops = each * left.numel() * right.shape[-1]
    return Op(name, size, fresh, flops, left.shape[-2], left.dtype)


def _size(x: torch.Tensor) -> int:
    return x.numel() * x.element_size()


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)
