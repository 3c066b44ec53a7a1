"""Products into tensor memory in listings: their shapes, who starts them, who waits for them."""

from __future__ import annotations

import pytest

from gdn_ops.codegen.compiled import sass
from gdn_ops.codegen.compiled.loops import Line, Mix, loops_of
from gdn_ops.codegen.compiled.tensor_products import product_cycles
from gdn_ops.codegen.compiled.warp_cycles import LATENCIES, QUARTER, Step, cycles


def listing(*lines: str) -> str:
    """What nvdisasm prints of labels (before a colon) and instructions, each with a stall of 1."""
    code = "        /*0010*/   {} ; /* 0x{:016x} */\n        /* 0x000fe200000e0000 */"
    return "\n".join(line if line.endswith(":") else code.format(line, 0) for line in lines)


CHUNK = listing(
    ".L_x_0:",
    "UMOV UR5, 0x8100490",
    "BRA.U UP0, `(.L_x_1)",
    "UIADD3 UR7, UPT, UPT, UR8, 0x30, URZ",
    "UTCHMMA tmem[UR2], gdesc[UR4], tmem[UR3], tmem[UR4], idesc[UR5], UPT",
    "UTCBAR [UR7], URZ",
    ".L_x_1:",
    "SYNCS.PHASECHK.TRANS64.TRYWAIT P0, [UR8+0x30], R1",
    "BAR.SYNC.DEFER_BLOCKING 0x0, 0x100",
    *["IADD3 R1, R2, R3, R4"] * 3,
    "@P0 BRA `(.L_x_0)",
)
"""A pass of a loop, in the order in which ptxas writes such code."""


@pytest.mark.parametrize(
    ("descriptor", "left", "expected"),
    [
        (0x8100490, False, 32.0),  # 128 x 64, bf16
        (0x8210490, False, 64.0),  # 128 x 128, the right operand transposed
        (0x4100490, False, 32.0),  # 64 x 64 takes as long as 128 x 64
        (0x8100490, True, 48.0),  # 128 + 64 rows of 32 bytes from shared memory
        (0x8100910, False, 32.0),  # tf32: half the rate, and half as deep
    ],
)
def test_cycles_follow_from_the_descriptor(descriptor: int, left: bool, expected: float) -> None:
    assert product_cycles(descriptor, left=left) == expected


def test_a_listing_says_who_starts_a_product_and_which_barrier_it_arrives_at() -> None:
    steps = {line.step.kind: line.step for line in sass.lines(CHUNK) if line.step}
    assert steps["signal"].barrier == steps["asks"].barrier == 0x30
    _, loop = loops_of(sass.lines(CHUNK))
    assert loop.warps == 8
    # all but the three that the branch skips are executed by every warp
    assert (loop.mix.instructions, loop.mix.alone, loop.mix.tensor) == (11, 3, 32.0)


def test_asking_for_tensor_memory_is_no_loop() -> None:
    asks = (".L_x_9:", "NANOSLEEP 0x64", "UTCATOMSWS.FIND_AND_SET.ALIGN UP0, UR6, UR6")
    text = listing(*asks, "BRA.U !UP0, `(.L_x_9)")
    assert [loop.outer for loop in loops_of(sass.lines(f"{text}\n{CHUNK}"))] == [-1, 0]


def test_a_product_of_unknown_shape_is_not_counted_as_none() -> None:
    usage = "Function kernel:\n  REG:128 STACK:0 SHARED:0"
    unknown = CHUNK.replace("UMOV UR5, 0x8100490", "ULEA UR5, UR6, UR5, 0x18")
    assert sass.parse(usage, CHUNK).loops != ()
    assert sass.parse(usage, unknown).loops == ()
    # and a constant that something else has overwritten is not one
    late = CHUNK.replace("UIADD3 UR7, UPT, UPT, UR8, 0x30", "UIADD3 UR5, UPT, UPT, UR8, 0x30")
    assert sass.parse(usage, late).loops == ()


def test_a_wait_lasts_until_the_products_before_its_barrier_are_over() -> None:
    first, second = Step("product", amount=100.0), Step("product", amount=300.0)
    one, other = Step("signal", barrier=8), Step("signal", barrier=16)
    start = [first, one, second, other]

    def until(barrier: int) -> float:
        asks = Step("asks", sets=0, barrier=barrier)
        return cycles([*start, asks, Step("other", waits=1)], loop=False)

    assert until(8) == 100 + LATENCIES.product + 1
    # a product starts one cycle after the signal before it
    assert until(16) == 400 + LATENCIES.product + 1
    # a barrier that no product arrives at here
    assert until(24) == 4 + LATENCIES.barrier + 1


def test_tensor_memory_gives_a_column_per_cycle() -> None:
    load, store = Step("tensor", sets=0, amount=64.0), Step("tensor", amount=32.0)
    use = Step("other", waits=1)
    assert cycles([load, use], loop=False) == QUARTER * 64 + LATENCIES.shared + 1
    stored = cycles([store, Step("stored", sets=0), use], loop=False)
    assert stored == QUARTER * 32 + 1


def test_only_branches_over_products_count() -> None:
    work, product = Line(mix=Mix(instructions=1)), Line(mix=Mix(instructions=1, tensor=32.0))
    skip, end = Line(branch="a", mix=Mix(instructions=1)), Line(label="a")
    (found,) = loops_of([skip, work, end, skip, work, product, end, work])
    assert (found.mix.instructions, found.mix.alone) == (6, 2)
