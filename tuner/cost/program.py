"""Program: what one program of a compiled kernel executes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gdn_ops.codegen.compiled.loops import SPIN, Loop
from gdn_ops.codegen.compiled.sass import GROUP_WARPS
from gdn_ops.codegen.compiled.warp_cycles import LATENCIES, Latencies

LANES, SPECIAL_PER_CYCLE = 32, 16
"""Lanes of a warp, and special functions of an SM per cycle."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """What one program takes of its SM.

    Args:
        chain: cycles from its first instruction to its last if the SM runs nothing else.
        issue, special, path: cycles that it keeps all schedulers, the units for special functions
            and the path to shared memory and cache busy.
        matrix: cycles that products of warp groups keep the matrix units of Hopper busy, and
            products into tensor memory those of Blackwell.
        flops_16, flops_tf32, warp_flops: FLOPs of its matrix instructions; see ``Mix``.
        far: bytes that it asks of the L2 cache, without those of copies by tensor descriptor.
    """

    chain: float
    issue: float
    special: float
    path: float
    matrix: float
    flops_16: float
    flops_tf32: float
    warp_flops: float
    far: float


@dataclass(frozen=True, kw_only=True)
class Part:
    """A loop of a program.

    Args:
        loop: of the machine code.
        passes: in one run of a program.
        longest: passes in the program that runs longest.
        warps: of the program that run it.
        beside: whether it runs side by side with the other loops of which this is said, because
            different warps run them.
    """

    loop: Loop
    passes: float
    longest: float
    warps: int
    beside: bool = False


def program_of(
    parts: Sequence[Part], *, kinds: int = 1, latencies: Latencies = LATENCIES
) -> Program:
    """Add up the loops of a kernel.

    Args:
        parts: its loops, with the kernel itself.
        kinds: of programs, each of which runs its share of the loops that run side by side.
    """

    def total(name: str, *, once: bool = False) -> float:
        found = 0.0
        for part in parts:
            warps = 1 if once else part.warps
            amount = warps * part.passes * float(getattr(part.loop.mix, name))
            found += amount / (kinds if part.beside else 1)
        return found

    alone = sum(
        part.passes * (part.warps - 1) * part.loop.mix.alone / (kinds if part.beside else 1)
        for part in parts
    )
    after = sum(part.longest * part.loop.mix.cycles for part in parts if not part.beside)
    beside = [part.longest * part.loop.mix.cycles for part in parts if part.beside]
    return Program(
        chain=after + max(beside, default=0.0),
        issue=(total("instructions") - alone) / GROUP_WARPS,
        special=total("special") * LANES / SPECIAL_PER_CYCLE,
        path=total("path") / latencies.path,
        matrix=total("matrix") / GROUP_WARPS + total("tensor", once=True),
        flops_16=total("flops_16"),
        flops_tf32=total("flops_tf32"),
        warp_flops=total("warp_flops"),
        far=total("far"),
    )


def parts_of(
    loops: Sequence[Loop], passes: Sequence[float], longest: Sequence[float], warps: int
) -> list[Part]:
    """The loops of a kernel whose warps all do the same."""
    return [
        Part(loop=loop, passes=usual, longest=long, warps=warps)
        for loop, usual, long in zip(loops, passes, longest, strict=True)
    ]


def partitions_of(loops: Sequence[Loop], passes: float, longest: float) -> list[Part]:
    """The loops of a kernel whose warps are partitions that run side by side.

    Each loop that contains no other but waits is the loop over chunks of one partition. A partition
    has the warps that its code says, else four, or one if it only copies.

    Args:
        passes, longest: chunks of a program, and of the one that runs longest.
    """
    around = {loop.outer for loop in loops if loop.mix.instructions > SPIN}
    found = []
    for index, loop in enumerate(loops):
        beside = index > 0 and index not in around and loop.mix.instructions > SPIN
        found.append(
            Part(
                loop=loop,
                passes=passes if beside else 1.0,
                longest=longest if beside else float(index == 0),
                warps=(loop.warps if beside else 0)
                or (GROUP_WARPS if not beside or loop.mix.path or loop.mix.matrix else 1),
                beside=beside,
            )
        )
    return found
