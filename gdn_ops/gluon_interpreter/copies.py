"""Tensor descriptors, and copies of tiles by them between memory and shared memory (TMA)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from gdn_ops.errors import KernelFault
from gdn_ops.gluon_interpreter.barrier import Barrier
from gdn_ops.gluon_interpreter.program import current, program
from gdn_ops.gluon_interpreter.shared_memory import Tile


@dataclass(frozen=True)
class TensorDescriptor:
    """A matrix in memory, and the block of it that one copy moves.

    Args:
        base: a contiguous tensor.
        shape: rows and columns.
        block_shape: rows and columns of a block.
        layout: of the tile in shared memory.
    """

    base: torch.Tensor
    shape: tuple[int, int]
    block_shape: tuple[int, int]
    layout: Any = None

    def parts(self, coord: Sequence[Any]) -> tuple[torch.Tensor, tuple[slice, slice]]:
        """The part of a block that is inside the matrix, and its place in the block."""
        places, inside = [], []
        for at, size, width in zip(map(int, coord), self.shape, self.block_shape, strict=True):
            first, last = max(at, 0), min(at + width, size)
            inside.append(slice(first, max(last, first)))
            places.append(slice(first - at, max(last, first) - at))
        matrix = self.base.view(-1, self.shape[1])
        return matrix[inside[0], inside[1]], (places[0], places[1])


def load(descriptor: TensorDescriptor, coord: Sequence[Any], barrier: Barrier, tile: Tile) -> None:
    """Start copying a block into a tile; elements outside of the matrix are 0."""
    me, here = current(), program()
    _check_shape(descriptor, tile)
    event = here.new_event()
    tile.write(f"a copy by {me.name} writes {tile.name}", event, me.clock, proxy=True)
    tile.data.fill_(float("nan"))
    known = me.clock.copy()
    known.add(event)
    coord = [int(x) for x in coord]

    def finish() -> None:
        part, place = descriptor.parts(coord)
        tile.data.zero_()
        tile.data[place] = part
        barrier.receive(tile.nbytes, known)

    here.copies.append(finish)
    here.switch()


def store(descriptor: TensorDescriptor, coord: Sequence[Any], tile: Tile) -> None:
    """Start copying a tile into a block; elements outside of the matrix are left out."""
    me = current()
    _check_shape(descriptor, tile)
    event = program().new_event()
    tile.read(f"a copy by {me.name} reads {tile.name}", event, me.clock, proxy=True)
    coord = [int(x) for x in coord]

    def finish() -> None:
        part, place = descriptor.parts(coord)
        part.copy_(tile.data[place])
        me.clock.add(event)

    me.stores.append(finish)


def wait_for_stores(left: int) -> None:
    """Wait until so many copies out of shared memory of the partition are left in flight."""
    me = current()
    me.finish(me.stores, left)


def _check_shape(descriptor: TensorDescriptor, tile: Tile) -> None:
    if tile.shape != list(descriptor.block_shape) or tile.dtype != descriptor.base.dtype:
        raise KernelFault(
            f"{tile.name} is {tile.dtype} {tile.shape}, and the descriptor's blocks are "
            f"{descriptor.base.dtype} {list(descriptor.block_shape)}"
        )
