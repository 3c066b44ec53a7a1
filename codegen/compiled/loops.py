"""The loops of a kernel's machine code, and what one pass of each executes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class Mix:
    """A count of one warp's instructions by the unit that executes them.

    Args:
        instructions: all of them.
        flops_16, flops_tf32: FLOPs of matrix instructions with 16-bit and with tf32 operands.
        special: transcendental instructions.
        waits: barriers of the block and waits for matrix products.
    """

    instructions: int = 0
    flops_16: float = 0.0
    flops_tf32: float = 0.0
    special: int = 0
    waits: int = 0

    def __add__(self, other: Mix) -> Mix:
        return Mix(
            instructions=self.instructions + other.instructions,
            flops_16=self.flops_16 + other.flops_16,
            flops_tf32=self.flops_tf32 + other.flops_tf32,
            special=self.special + other.special,
            waits=self.waits + other.waits,
        )


@dataclass(frozen=True)
class Loop:
    """A loop of the machine code.

    Args:
        outer: index of the enclosing loop in the kernel's list; -1 for the kernel itself.
        mix: what one pass executes, without inner loops.
    """

    outer: int
    mix: Mix


@dataclass(frozen=True)
class Line:
    """One line of a listing: a label, or an instruction that may branch to one."""

    label: str = ""
    branch: str = ""
    mix: Mix = Mix()


def loops_of(lines: Iterable[Line]) -> tuple[Loop, ...]:
    """The loops of a kernel in the order of the code; the first is the kernel itself, run once.

    A loop is the code between a label and the last branch back to it.
    """
    listing = list(lines)
    spans = _spans(listing)
    loops = [Loop(-1, Mix())]
    starts, open_ = dict(spans), [(len(listing), 0)]
    for place, line in enumerate(listing):
        while place > open_[-1][0]:
            open_.pop()
        if place in starts:
            # a loop ends no later than the loop around it
            loops.append(Loop(open_[-1][1], Mix()))
            open_.append((min(starts[place], open_[-1][0]), len(loops) - 1))
        index = open_[-1][1]
        loops[index] = replace(loops[index], mix=loops[index].mix + line.mix)
    return tuple(loops)


def _spans(listing: Sequence[Line]) -> list[tuple[int, int]]:
    """First and last line of each loop."""
    labels: dict[str, int] = {}
    ends: dict[int, int] = {}
    for place, line in enumerate(listing):
        if line.label:
            labels[line.label] = place
        if line.branch in labels and _works(listing[labels[line.branch] : place]):
            ends[labels[line.branch]] = place
    return sorted(ends.items())


def _works(body: Sequence[Line]) -> bool:
    """Whether a backward branch is a loop, not the endless one after a kernel's exit."""
    return sum(line.mix.instructions for line in body) > 0
