"""The cycles that one warp takes for a piece of NVIDIA machine code.

The assembler writes into every instruction how many cycles the next one has to wait, and which of
six scoreboards it waits for. With the latencies of what sets scoreboards, that is enough to follow
a warp through its code: a load that is used at once costs its whole latency, and one that was
issued some passes of a loop earlier costs what is left of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

PASSES = 8
"""Passes of a loop that are followed. The second half counts: by then its pipeline is full."""
ALIKE = 4
"""Warps that reach the same code at about the same time, and share the path to memory."""
QUARTER = 2
"""Those of 8 warps that share a quarter of tensor memory, which gives a column per cycle."""


@dataclass(frozen=True, kw_only=True)
class Latencies:
    """What the assembler does not know, in cycles.

    Args:
        memory: until a load from global memory or an asynchronous copy has arrived.
        product: until asynchronous matrix products are seen to be over, after the last has ended.
        barrier: of a barrier that nobody delays, between the warps of a block or in shared memory.
        shared: until a load from shared memory has arrived.
        other: until anything else with a scoreboard is over, e.g. special functions and shuffles.
        read: until an instruction has read its operands, which may then be overwritten.
        path: bytes per cycle between an SM's registers and its shared memory or cache.
    """

    memory: float = 1000.0
    product: float = 30.0
    barrier: float = 40.0
    shared: float = 30.0
    other: float = 24.0
    read: float = 12.0
    path: float = 128.0


LATENCIES = Latencies()


@dataclass(frozen=True, slots=True)
class Step:
    """What decides when the instructions after this one may be issued.

    Args:
        kind: ``load`` or ``store`` (global memory), ``shared`` (shared memory); ``copy``,
            ``commit`` and ``copies`` (asynchronous copies to shared memory, the end of a group of
            them, a wait for groups); ``product`` and ``products`` (asynchronous matrix products, a
            wait for groups); ``barrier`` and ``asks`` (a barrier of the block, and one in shared
            memory that is asked whether it is complete); ``tensor`` (a load or store of tensor
            memory), ``stored`` (a wait for such stores) and ``signal`` (products arrive at a
            barrier when they are over); or ``other``.
        stall: cycles until the next instruction, at least.
        sets, reads: scoreboards that are set until the result is there and until the operands are
            read; 7 for none.
        waits: scoreboards that are waited for, a bit each.
        amount: the bytes of a load or store of the warp; the columns of one of tensor memory; the
            cycles that a product takes the matrix units, infinite if unknown; the groups that a
            wait leaves on their way.
        last: whether a product ends a group.
        barrier: of ``asks`` and ``signal``, the place of the barrier; 0 if unknown.
    """

    kind: str
    stall: int = 1
    sets: int = 7
    reads: int = 7
    waits: int = 0
    amount: float = 0.0
    last: bool = False
    barrier: int = 0


@dataclass
class Warp:
    """A warp on its way through code."""

    own: Latencies
    now: float = 0.0
    boards: list[float] = field(default_factory=lambda: [0.0] * 6)
    path: float = 0.0
    matrix: float = 0.0
    products: list[float] = field(default_factory=list)
    tensor: float = 0.0
    signals: dict[int, float] = field(default_factory=dict)
    copied: float = 0.0
    copies: list[float] = field(default_factory=list)

    def take(self, step: Step) -> None:
        """Issue an instruction as soon as it may be."""
        now, kind = self.now, step.kind
        if step.waits:
            for board, until in enumerate(self.boards):
                if step.waits >> board & 1 and until > now:
                    now = until
        ready = now + self.own.other
        if kind in ("load", "store", "copy", "shared"):
            self.path = max(self.path, now) + ALIKE * step.amount / self.own.path
            far = self.own.shared if kind == "shared" else self.own.memory
            ready = self.path + far
            if kind == "copy":
                self.copied = ready
        elif kind == "product":
            self.matrix = max(self.matrix, now) + step.amount
            if step.last:
                self.products.append(self.matrix + self.own.product)
        elif kind == "products":
            now = max([now, *_over(self.products, int(step.amount))])
        elif kind == "commit":
            self.copies.append(self.copied)
        elif kind == "copies":
            now = max([now, *_over(self.copies, int(step.amount))])
        elif kind == "asks":
            over = self.signals.get(step.barrier, self.signals.get(0, 0.0))
            ready = max(now + self.own.barrier, over)
        elif kind == "signal":
            self.signals[step.barrier] = self.matrix + self.own.product
        elif kind == "tensor":
            self.tensor = max(self.tensor, now) + QUARTER * step.amount
            ready = self.tensor + self.own.shared
        elif kind == "stored":
            ready = max(ready, self.tensor)
        elif kind == "barrier":
            # what was stored before it must be there
            now = max(now, self.path) + self.own.barrier
        if step.sets < 6:
            self.boards[step.sets] = max(self.boards[step.sets], ready)
        if step.reads < 6:
            read = max(now, self.path if kind in ("store", "copy", "shared") else now)
            self.boards[step.reads] = max(self.boards[step.reads], read + self.own.read)
        self.now = now + max(1, step.stall)


def _over(groups: list[float], left: int) -> list[float]:
    """Take the groups that a wait waits for out of those on their way, and return their ends."""
    count = max(0, len(groups) - left)
    done = groups[:count]
    del groups[:count]
    return done


def cycles(steps: Sequence[Step], *, loop: bool, latencies: Latencies = LATENCIES) -> float:
    """The cycles of code that is run once, or of one pass of a loop whose pipeline is full."""
    if not steps:
        return 0.0
    warp = Warp(latencies)
    if not loop:
        for step in steps:
            warp.take(step)
        return max(warp.now, *warp.boards)
    half = 0.0
    for turn in range(PASSES):
        for step in steps:
            warp.take(step)
        if turn == PASSES // 2 - 1:
            half = warp.now
    return (warp.now - half) / (PASSES - PASSES // 2)
