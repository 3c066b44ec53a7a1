"""The cycles of a warp: what it waits for, and what a pipeline hides."""

from __future__ import annotations

import pytest

from gdn_ops.codegen.compiled.loops import Line, Mix, loops_of
from gdn_ops.codegen.compiled.sass_step import product_cycles, step_of
from gdn_ops.codegen.compiled.warp_cycles import Latencies, Step, cycles

OWN = Latencies(memory=500.0, product=50.0, barrier=40.0, shared=30.0, other=20.0, read=10.0)
WORK = Step("other", stall=100)


def once(*steps: Step) -> float:
    return cycles(steps, loop=False, latencies=OWN)


def passes(*steps: Step) -> float:
    return cycles(steps, loop=True, latencies=OWN)


def test_a_load_that_is_used_at_once_costs_its_latency() -> None:
    load, use = Step("load", sets=0, amount=128.0), Step("other", waits=1)
    # 4 warps load 128 bytes each, of 128 per cycle
    assert once(load, use) == 4 + 500 + 1
    assert once(load, WORK, use) == 4 + 500 + 1
    assert once(load, use, WORK) == 4 + 500 + 1 + 100


def test_a_pipeline_hides_what_passes_between_copy_and_use() -> None:
    def with_ahead(left: int) -> float:
        copy = Step("copy", amount=128.0)
        return passes(copy, Step("commit"), Step("copies", amount=left), WORK)

    # the copy of this pass is waited for; then that of the pass before; then all are there in time
    assert with_ahead(0) == pytest.approx(504 + 102, rel=0.01)
    assert with_ahead(1) == pytest.approx((504 + 103) / 2, rel=0.01)
    assert with_ahead(8) == 103


def test_products_are_waited_for_in_groups() -> None:
    first, second = (Step("product", amount=64.0, last=True) for _ in range(2))
    assert once(first, second, Step("products", amount=1)) == 64 + 50 + 1
    assert once(first, second, Step("products")) == 128 + 50 + 1
    assert once(first, Step("other", stall=400), Step("products")) == 402


def test_a_barrier_waits_for_what_was_stored() -> None:
    store = Step("shared", amount=512.0)
    assert once(Step("barrier")) == 41
    assert once(*[store] * 8, Step("barrier")) == 8 * 16 + 40 + 1


def test_delays_are_read_from_the_encoding() -> None:
    # stall 1, read scoreboard 1, no result, waits for none
    step = step_of("STS.128", " [R2], R4 ;", (1 | 7 << 5 | 1 << 8) << 41)
    assert (step.kind, step.stall, step.sets, step.reads, step.waits) == ("shared", 1, 7, 1, 0)
    assert step.amount == 512
    wait = step_of("WARPGROUP.DEPBAR.LE", " gsb0, 0x1 ;", (2 | 7 << 5 | 7 << 8 | 5 << 11) << 41)
    assert (wait.kind, wait.amount, wait.stall, wait.waits) == ("products", 1, 2, 5)
    copies = step_of("DEPBAR.LE", " SB0, 0x2 ;", 7 << 46)
    assert (copies.kind, copies.amount) == ("copies", 2)


def test_narrow_products_are_bound_by_shared_memory() -> None:
    wide, narrow = (product_cycles(64, n, 16, tf32=False, left=True) for n in (128, 32))
    assert (wide, narrow) == (64, 24)
    assert product_cycles(64, 32, 16, tf32=False, left=False) == 16
    assert product_cycles(64, 64, 8, tf32=True, left=True) == 32
    for left, operands in (
        (True, " R24, gdesc[UR4], R24, gsb0 ;"),
        (False, " R24, R8, gdesc[UR4] ;"),
    ):
        step = step_of("HGMMA.64x32x16.F32.BF16", operands, 0)
        assert (step.kind, step.last) == ("product", left)
        assert step.amount == (24 if left else 16)


def line(kind: str = "other", **more: object) -> Line:
    return Line(mix=Mix(instructions=1), step=Step(kind), **more)  # type: ignore[arg-type]


def test_asking_a_barrier_again_is_no_loop_nor_is_code_behind_the_end() -> None:
    asks = [Line(label="a"), line("asks"), line(branch="a")]
    body = [Line(label="b"), *[line()] * 20, *asks, line(branch="b")]
    behind = [line(ends=True), Line(label="c"), line("asks"), line(branch="b")]
    found = loops_of([*body, *behind])
    assert [(loop.outer, loop.mix.instructions) for loop in found] == [(-1, 3), (0, 23)]
