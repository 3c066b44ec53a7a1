"""Pointers into tensors, and masked loads and stores by them."""

from __future__ import annotations

from typing import Any

import torch

from gdn_ops.errors import KernelFault
from gdn_ops.gluon_interpreter.program import current


class Pointer:
    """An element of a contiguous tensor, or a block of pointers.

    Args:
        tensor: what it points into.
        offset: elements from its start; a number, or a tensor of them.
    """

    def __init__(self, tensor: torch.Tensor, offset: Any = 0) -> None:
        self.tensor, self.offset = tensor, offset

    def __add__(self, offset: Any) -> Pointer:
        return Pointer(self.tensor, self.offset + offset)


def load(pointer: Pointer, mask: torch.Tensor | None = None, other: Any = None) -> torch.Tensor:
    """Elements where the mask is true; elsewhere ``other``, or NaN or the like where it is None."""
    flat, offsets, inside = _elements(pointer, mask, "reads")
    values = flat[offsets]
    if mask is None:
        return values
    rest = other
    if rest is None:
        rest = float("nan") if flat.is_floating_point() else torch.iinfo(flat.dtype).max
    return torch.where(inside, values, torch.as_tensor(rest, dtype=flat.dtype))


def store(pointer: Pointer, value: torch.Tensor, mask: torch.Tensor | None = None) -> None:
    """Write elements where the mask is true."""
    flat, offsets, inside = _elements(pointer, mask, "writes")
    value = value.expand(offsets.shape)
    if value.dtype != flat.dtype:
        raise KernelFault(f"{current().name} stores {value.dtype} in a tensor of {flat.dtype}")
    flat[offsets[inside]] = value[inside]


def _elements(
    pointer: Pointer, mask: torch.Tensor | None, does: str
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The tensor's elements, the offsets (0 where masked), and the mask, of one shape."""
    flat = pointer.tensor.view(-1)
    offsets = torch.as_tensor(pointer.offset).long()
    inside = torch.ones_like(offsets, dtype=torch.bool)
    if mask is not None:
        inside = inside & mask
        offsets = offsets.expand(inside.shape)
    used = offsets[inside]
    first, last = (int(used.min()), int(used.max())) if used.numel() else (0, -1)
    if first < 0 or last >= flat.numel():
        raise KernelFault(
            f"{current().name} {does} elements {first} to {last} of a tensor of {flat.numel()}"
        )
    return flat, torch.where(inside, offsets, 0), inside
