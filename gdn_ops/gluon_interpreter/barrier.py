"""Barriers in shared memory (mbarriers): phases that complete by arrivals and by copied bytes."""

from __future__ import annotations

from typing import Any

from gdn_ops.errors import KernelFault
from gdn_ops.gluon_interpreter.clock import Clock
from gdn_ops.gluon_interpreter.program import current, program
from gdn_ops.gluon_interpreter.shared_memory import assigned_name


class Barrier:
    """A barrier; its phase completes when all arrivals and all expected bytes are there."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._count = self._pending = 0
        self._bytes = 0
        self._phases = 0
        self._seen = True
        # what the complete phases make known, and what the arrivals of this phase will
        self._clock, self._arrived = Clock(), Clock()
        program().barriers.append(self)

    def init(self, count: int) -> None:
        self._count = self._pending = count

    def arrive(self, count: int) -> None:
        """Arrivals of the partition, which make known all it has done."""
        me = current()
        self._count_arrivals(me.name, count)
        self._arrived.join(me.clock)
        me.clock.tick(me.actor)
        me.joined = me.step()  # the last of its warps makes the arrival
        self._advance()

    def complete(self, who: str, clock: Clock) -> None:
        """The arrival of products that are over; ``clock`` is what their end makes known."""
        self._count_arrivals(who, 1)
        self._arrived.join(clock)
        self._advance()

    def expect(self, count: int) -> None:
        """Arrive, and expect so many bytes of copies in this phase."""
        self._bytes += count
        self.arrive(1)

    def receive(self, count: int, clock: Clock) -> None:
        """Note bytes that a copy has brought; ``clock`` is what its end makes known."""
        self._check_init()
        self._arrived.join(clock)
        self._bytes -= count
        self._advance()

    def wait(self, phase: int) -> None:
        """Wait until the phase of this parity is complete."""
        self._check_init()
        parity = int(phase) & 1
        program().switch(
            lambda: self._phases & 1 != parity, lambda: f"for phase {parity} of {self._lacking()}"
        )
        self._seen = True
        current().clock.join(self._clock)

    def check_end(self) -> None:
        """Refuse a barrier in the middle of a phase, once nothing more happens."""
        if self._pending != self._count or self._bytes:
            raise KernelFault(f"the kernel ends within a phase of {self._lacking()}")

    def _count_arrivals(self, who: str, count: int) -> None:
        self._check_init()
        if self._pending < count:
            raise KernelFault(
                f"{who} arrives {count} times at {self.name}, which expects {self._pending} "
                "more arrivals in this phase"
            )
        self._pending -= count

    def _lacking(self) -> str:
        return f"{self.name} (it lacks {self._pending} arrivals and {self._bytes} bytes)"

    def _advance(self) -> None:
        if self._pending or self._bytes:
            return
        if not self._seen:
            raise KernelFault(
                f"{self.name} completes a second phase before anybody waited for the one before"
            )
        self._seen = False
        self._phases += 1
        self._clock.join(self._arrived)
        self._pending = self._count

    def _check_init(self) -> None:
        if not self._count:
            raise KernelFault(f"{self.name} is used before mbarrier.init")


class Barriers:
    """Memory for several barriers, or for one."""

    def __init__(self, count: int, depth: int) -> None:
        name = assigned_name(depth + 1)
        self._barriers = [Barrier(f"{name}[{i}]" if count > 1 else name) for i in range(count)]

    def index(self, index: Any) -> Barrier:
        i = int(index)
        if not 0 <= i < len(self._barriers):
            raise KernelFault(f"there are {len(self._barriers)} barriers and no number {i}")
        return self._barriers[i]
