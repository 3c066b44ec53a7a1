"""Tiles of shared memory, with every access that a later one might not know to be over."""

from __future__ import annotations

import linecache
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from gdn_ops.errors import KernelFault
from gdn_ops.gluon_interpreter.clock import Clock, Event
from gdn_ops.gluon_interpreter.program import current


@dataclass(eq=False)
class Access:
    """A read or a write of some elements of an allocation.

    Args:
        what: who does it, in words.
        event: when it is over.
        span: its first and last element in memory.
        proxy: whether a copy or a product does it, not the threads of a partition.
        fenced: for a write of threads: the event of their fence after it.
        actor: the partition that does it or that issued it.
        step: when its partition did it, or waited for it; see ``Partition.steps``.
    """

    what: str
    event: Event
    span: tuple[int, int]
    proxy: bool
    fenced: Event | None = None
    actor: int = 0
    step: int = 0

    def overlaps(self, other: Access) -> bool:
        return self.span[0] <= other.span[1] and other.span[0] <= self.span[1]

    def within(self, other: Access) -> bool:
        return other.span[0] <= self.span[0] and self.span[1] <= other.span[1]


class Allocation:
    """Memory of one call of ``allocate_shared_memory``; its elements are NaN at first."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.reads: list[Access] = []
        self.writes: list[Access] = []


class Tile:
    """A part of an allocation, a ``shared_memory_descriptor`` of Gluon.

    Args:
        data: its elements, a view of the allocation's.
        name: of the allocation with its indices, for errors.
    """

    def __init__(self, allocation: Allocation, data: torch.Tensor, name: str, layout: Any) -> None:
        self.allocation, self.data, self.name, self.layout = allocation, data, name, layout

    @property
    def shape(self) -> list[int]:
        return list(self.data.shape)

    @property
    def dtype(self) -> torch.dtype:
        return self.data.dtype

    @property
    def nbytes(self) -> int:
        return self.data.numel() * self.data.element_size()

    def index(self, index: Any) -> Tile:
        i = int(index)
        if not 0 <= i < self.data.shape[0]:
            raise KernelFault(f"{self.name} has no element {i}: it has {self.data.shape[0]}")
        return self._part(self.data[i], f"[{i}]")

    def permute(self, order: Sequence[int]) -> Tile:
        return self._part(self.data.permute(*order))

    def slice(self, start: int, length: int, dim: int = 0) -> Tile:
        return self._part(self.data.narrow(dim, start, length), f"[{start}:{start + length}]")

    def load(self, layout: Any = None) -> torch.Tensor:
        """What the threads of the partition read."""
        me = current()
        access = self.read(f"{me.name} reads {self.name}", me.clock.now(me.actor), me.clock)
        access.step = me.step()
        return self.data.clone()

    def store(self, value: torch.Tensor) -> None:
        """Write what the threads of the partition hold."""
        me = current()
        self._check_value(value)
        what = f"{me.name} writes {self.name}"
        self._check_warps(what)
        access = self.write(what, me.clock.now(me.actor), me.clock)
        access.actor, access.step = me.actor, me.step()
        me.unfenced.append(access)
        self.data.copy_(value)

    def _check_value(self, value: torch.Tensor) -> None:
        if value.shape != self.data.shape or value.dtype != self.data.dtype:
            raise KernelFault(
                f"{current().name} stores {value.dtype} {list(value.shape)} in {self.name}, which "
                f"is {self.data.dtype} {self.shape}"
            )

    def _check_warps(self, what: str) -> None:
        """Check that no other warp of the partition is still in a product that reads the tile.

        Each warp waits for its own part of a product (triton-lang/triton#11047). The warps wait for
        one another before they arrive at a barrier, between a load and a store of one tile, and
        between a store and a product that reads the tile.
        """
        me, span = current(), self._span()
        store = Access(what, me.clock.now(me.actor), span, False)
        own = [x for x in self.allocation.reads if x.actor == me.actor and x.overlaps(store)]
        last = max((x.step for x in own if x.proxy), default=0)
        if max([me.joined, *(x.step for x in own if not x.proxy)]) < last:
            raise KernelFault(
                f"{what} right after it waited for a product that reads it, in which its other "
                "warps may still be; arrive at a barrier before, or load the tile"
            )

    def stored(self) -> int:
        """When the partition last wrote to it by itself: by then it had done all before."""
        me, span = current(), self._span()
        own = Access("", me.clock.now(me.actor), span, False)
        writes = [x for x in self.allocation.writes if x.actor == me.actor and x.overlaps(own)]
        return max((x.step for x in writes if not x.proxy), default=0)

    def read(self, what: str, event: Event, clock: Clock, *, proxy: bool = False) -> Access:
        """Note a read, and return it.

        Args:
            what: who reads, in words.
            event: when the read is over.
            clock: what must have happened before it begins.
            proxy: whether a copy or a product reads.

        Raises:
            KernelFault: something that was written may not be there, or not be seen.
        """
        access = Access(what, event, self._span(), proxy, actor=current().actor)
        self._follow(access, self.allocation.writes, clock)
        self.allocation.reads.append(access)
        return access

    def write(self, what: str, event: Event, clock: Clock, *, proxy: bool = False) -> Access:
        """Note a write; arguments as of ``read``.

        Raises:
            KernelFault: something may still read what is overwritten, or write it later.
        """
        access = Access(what, event, self._span(), proxy)
        memory = self.allocation
        self._follow(access, memory.writes, clock)
        self._follow(access, memory.reads, clock, fences=False)
        memory.reads = [old for old in memory.reads if not old.within(access)]
        memory.writes = [old for old in memory.writes if not old.within(access)]
        memory.writes.append(access)
        return access

    @staticmethod
    def _follow(
        access: Access, earlier: list[Access], clock: Clock, *, fences: bool = True
    ) -> None:
        """Check that an access must come after all earlier ones of the same elements."""
        for old in earlier:
            if not access.overlaps(old):
                continue
            if not clock.covers(old.event):
                raise KernelFault(f"{access.what} while {old.what.replace(' reads', ' may read')}")
            generic = fences and access.proxy and not old.proxy
            if generic and (old.fenced is None or not clock.covers(old.fenced)):
                raise KernelFault(f"{access.what} but no fence follows where {old.what}")

    def _span(self) -> tuple[int, int]:
        sides = zip(self.data.shape, self.data.stride(), strict=True)
        first = int(self.data.storage_offset())
        return first, first + sum((int(size) - 1) * stride for size, stride in sides)

    def _part(self, data: torch.Tensor, suffix: str = "") -> Tile:
        return Tile(self.allocation, data, self.name + suffix, self.layout)


def allocate(dtype: torch.dtype, shape: Sequence[int], layout: Any, *, depth: int) -> Tile:
    """A new tile, named as the variable that the calling kernel gives it.

    Args:
        depth: how many callers up the kernel is.
    """
    name = assigned_name(depth + 1)
    data = torch.full(list(shape), float("nan"), dtype=dtype)
    return Tile(Allocation(name), data, name, layout)


def assigned_name(depth: int) -> str:
    """The variable that a line of a calling function assigns to."""
    frame = sys._getframe(depth + 1)
    line = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
    found = re.match(r"\s*(\w+)\s*=", line)
    return found[1] if found else f"the allocation in line {frame.f_lineno}"


def fence() -> None:
    """Make what the partition has written visible to copies and products."""
    me = current()
    for access in me.unfenced:
        access.fenced = me.clock.now(me.actor)
    me.unfenced.clear()
