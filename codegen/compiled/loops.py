"""The loops of a kernel's machine code, and what one pass of each executes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace

from gdn_ops.codegen.compiled.warp_cycles import LATENCIES, Latencies, Step, cycles


@dataclass(frozen=True, kw_only=True)
class Mix:
    """A count of one warp's instructions by the unit that executes them.

    Args:
        instructions: all of them.
        alone: those that one warp executes for all, to start products into tensor memory.
        flops_16, flops_tf32: FLOPs of matrix instructions with 16-bit and with tf32 operands.
        warp_flops: those of these FLOPs that instructions of a single warp do.
        special: transcendental instructions.
        waits: barriers of the block and waits for matrix products.
        matrix: cycles that asynchronous products of its warp group take the matrix units.
        tensor: cycles that products into tensor memory take them, which one thread starts for all
            warps. Their FLOPs are not among the above.
        path: bytes between its registers and the SM's shared memory or cache.
        far: bytes of loads and stores of global memory, and of copies to shared memory.
        cycles: cycles from the first instruction to the last if the SM has nothing else to do.
    """

    instructions: int = 0
    alone: int = 0
    flops_16: float = 0.0
    flops_tf32: float = 0.0
    warp_flops: float = 0.0
    special: int = 0
    waits: int = 0
    matrix: float = 0.0
    tensor: float = 0.0
    path: float = 0.0
    far: float = 0.0
    cycles: float = 0.0

    @classmethod
    def total(cls, mixes: Iterable[Mix]) -> Mix:
        """The sum, but for ``cycles``, which follow from the order of the instructions."""
        found = list(mixes)
        return cls(**{name: sum(getattr(mix, name) for mix in found) for name in _SUMMED})


_SUMMED = tuple(field.name for field in fields(Mix) if field.name != "cycles")


@dataclass(frozen=True)
class Loop:
    """A loop of the machine code.

    Args:
        outer: index of the enclosing loop in the kernel's list; -1 for the kernel itself.
        mix: what one pass executes, without inner loops.
        warps: that run it, where it uses tensor memory and its barriers say so; 0 if unknown.
    """

    outer: int
    mix: Mix
    warps: int = 0


@dataclass(frozen=True)
class Line:
    """One line of a listing: a label, or an instruction that may branch to one.

    Args:
        label: of the next instruction.
        branch: the label that the instruction branches to.
        mix: what it counts as.
        step: how it delays the ones after it; None if that was not read.
        ends: whether the kernel ends here, in any case.
        warps: that a barrier is for; 0 for any other line, and for a barrier of all warps.
    """

    label: str = ""
    branch: str = ""
    mix: Mix = Mix()
    step: Step | None = None
    ends: bool = False
    warps: int = 0


SPIN = 8
"""The most instructions of a loop that only asks a barrier again whether it is complete."""


def loops_of(lines: Iterable[Line], latencies: Latencies = LATENCIES) -> tuple[Loop, ...]:
    """The loops of a kernel in the order of the code; the first is the kernel itself, run once.

    A loop is the code between a label and the last branch back to it. Asking a barrier until it is
    complete is no loop, nor is the code that the compiler puts behind the kernel's end and that
    branches back.
    """
    return tuple(
        Loop(around, _mix(body, latencies, loop=around >= 0), _warps(body))
        for around, body in bodies(lines)
    )


def bodies(lines: Iterable[Line]) -> list[tuple[int, list[Line]]]:
    """The enclosing loop and the own lines of each loop, as ``loops_of`` counts them."""
    listing = list(lines)
    spans = _spans(listing)
    found: list[tuple[int, list[Line]]] = [(-1, [])]
    starts, open_ = dict(spans), [(len(listing), 0)]
    for place, line in enumerate(listing):
        while place > open_[-1][0]:
            open_.pop()
        if place in starts:
            found.append((open_[-1][1], []))
            # a loop ends no later than the loop around it
            open_.append((min(starts[place], open_[-1][0]), len(found) - 1))
        found[open_[-1][1]][1].append(line)
    return found


def _mix(body: Sequence[Line], latencies: Latencies, *, loop: bool) -> Mix:
    steps = [line.step for line in body if line.step is not None]
    total = Mix.total(line.mix for line in body)
    time = cycles(steps, loop=loop, latencies=latencies)
    return replace(total, alone=_alone(body), cycles=time)


def _alone(body: Iterable[Line]) -> int:
    """The instructions that a branch skips, where products into tensor memory are among them."""
    total, since, to, products = 0, 0, "", False
    for line in body:
        if products and line.label == to:
            total, to, products = total + since, "", False
        elif line.branch and not products:
            to, since = line.branch, 0
        else:
            since += line.mix.instructions
            products = products or (bool(to) and line.mix.tensor > 0)
    return total


def _warps(body: Sequence[Line]) -> int:
    """The warps of code that uses tensor memory; 0 if its barriers do not say."""
    used = any(line.step and line.step.kind in ("tensor", "signal") for line in body)
    counts = {line.warps for line in body if line.warps}
    return counts.pop() if used and len(counts) == 1 else 0


def _spans(listing: Sequence[Line]) -> list[tuple[int, int]]:
    """First and last line of each loop."""
    labels: dict[str, int] = {}
    ends: dict[int, int] = {}
    for place, line in enumerate(listing):
        if line.label:
            labels[line.label] = place
        if line.branch in labels and _repeats(listing[labels[line.branch] : place + 1]):
            ends[labels[line.branch]] = place
    return sorted(ends.items())


def _repeats(body: Sequence[Line]) -> bool:
    """Whether a backward branch is a loop that does work."""
    count = sum(line.mix.instructions for line in body)
    spins = count <= SPIN and any(line.step and line.step.kind == "asks" for line in body)
    # the endless branch to itself after a kernel's exit, and code behind that exit
    return count > 1 and not spins and not any(line.ends for line in body)
