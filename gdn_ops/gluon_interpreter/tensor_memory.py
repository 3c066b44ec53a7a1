"""Tiles of tensor memory (sm_100), which threads and products share without a fence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from gdn_ops.gluon_interpreter.clock import Event
from gdn_ops.gluon_interpreter.program import Partition, current
from gdn_ops.gluon_interpreter.shared_memory import Allocation, Tile, assigned_name


class TensorTile(Tile):
    """Memory of one call of ``allocate_tensor_memory``, a ``tensor_memory_descriptor`` of Gluon."""

    last: tuple[Partition, Event] | None = None
    """The partition that last started a product into it, and when that product is over."""

    def store(self, value: torch.Tensor) -> None:
        """Write what the threads of the partition hold; its warps then wait for one another."""
        me = current()
        self._check_value(value)
        access = self.write(f"{me.name} writes {self.name}", me.clock.now(me.actor), me.clock)
        access.fenced = access.event
        self.data.copy_(value)
        me.joined = me.step()


def allocate(
    dtype: torch.dtype, shape: Sequence[int], layout: Any, value: torch.Tensor | None, *, depth: int
) -> TensorTile:
    """A new tile of NaN, or of ``value``, named as the variable the calling kernel gives it.

    Args:
        depth: how many callers up the kernel is.
    """
    name = assigned_name(depth + 1)
    data = torch.full(list(shape), float("nan"), dtype=dtype)
    tile = TensorTile(Allocation(name), data, name, layout)
    if value is not None:
        tile.store(value)
    return tile
