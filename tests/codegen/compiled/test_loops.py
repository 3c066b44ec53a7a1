"""Loops of machine code and their passes, on small listings and on a compiled stage."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import pytest

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.compiled import sass
from gdn_ops.codegen.compiled.loops import Line, Mix, loops_of
from gdn_ops.codegen.compiled.trips import SourceLoop, source_loops, trips
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.problem import OPS, Problem
from gdn_ops.codegen.render import render
from gdn_ops.codegen.rule import GATES, Rule
from gdn_ops.codegen.targets import target_named
from gdn_ops.codegen.tensor import Sizes
from gdn_ops.codegen.variant import Variant
from gdn_ops.tuner.spaces.space import plans_for
from gdn_ops.tuner.workers.offline import compile_job, row_of
from gdn_ops.tuner.workers.worker_pool import WorkerPool

PROBLEM = Problem(op="forward", H=2, HV=4, K=64, V=64, dtype="bf16", tokens=640, sequences=1)

SOURCE = """
import triton.language as tl
K = tl.constexpr(100)  # head dim
BK = tl.constexpr(32)


def kernel(T, n):
    for i_t in range(tl.cdiv(T, 64) - 1, -1, -1):
        for i_k in tl.range(tl.cdiv(K, BK), num_stages=2):
            pass
    for i in range(n):
        pass
"""


def one(branch: str = "") -> Line:
    return Line(branch=branch, mix=Mix(instructions=1))


def test_nested_loops_and_what_is_in_each() -> None:
    listing = [
        one(), Line(label="a"), one(), Line(label="b"), one(), one(branch="b"), one(branch="a"),
        one(), Line(label="end"), Line(branch="end"),
    ]  # fmt: skip
    loops = loops_of(listing)
    assert [(loop.outer, loop.mix.instructions) for loop in loops] == [(-1, 2), (0, 2), (1, 2)]


def test_passes_of_source_loops() -> None:
    found = source_loops(SOURCE, {"T": 640})
    assert found == (SourceLoop(-1, 10.0), SourceLoop(0, 4.0), SourceLoop(-1, 1.0, known=False))


def test_a_loop_that_nothing_is_left_for_is_not_passed_through() -> None:
    (loop,) = source_loops("def kernel(T):\n    for i in range(T - 1):\n        pass\n", {"T": 1})
    assert loop.passes == 0


def test_passes_multiply_from_the_outside() -> None:
    inner = [Line(label="b"), one(), one(branch="b")]
    loops = loops_of([Line(label="a"), *inner, one(branch="a")])
    assert trips(loops, (SourceLoop(-1, 10.0), SourceLoop(0, 5.0))) == (1.0, 10.0, 50.0)
    # the inner one was written out
    assert trips(loops[:2], (SourceLoop(-1, 10.0), SourceLoop(0, 4.0))) == (1.0, 10.0)


def launched() -> Iterator[tuple[str, Problem, Config]]:
    """Every Triton stage under every gate and op, of dense and packed sequences."""
    for op, gate, varlen in product(OPS, GATES, (False, True)):
        problem = replace(
            PROBLEM, op=op, rule=Rule(gate), varlen=varlen, K=128, V=128, tokens=8192, sequences=4,
            initial_state=True, final_state=True,
        )  # fmt: skip
        for name in plans_for(problem, target_named("h200")):
            variant = Variant.default(name, problem)
            for stage, _ in variant.stages:
                if KERNELS[stage].language == "triton":
                    yield stage, problem, variant.config(stage)


@pytest.fixture(scope="module")
def found() -> dict[str, list[tuple[SourceLoop, ...]]]:
    loops: dict[str, list[tuple[SourceLoop, ...]]] = defaultdict(list)
    for stage, problem, config in launched():
        spec = KERNELS[stage]
        bounds = spec.loop_bounds(problem, config, Sizes.typical(problem, config))
        loops[stage].append(source_loops(render(spec, problem, config), bounds))
    return loops


@pytest.mark.parametrize("stage", [name for name in KERNELS if KERNELS[name].language == "triton"])
def test_a_spec_knows_what_bounds_its_loops(
    stage: str, found: dict[str, list[tuple[SourceLoop, ...]]]
) -> None:
    assert found[stage], "no problem runs the stage"
    assert all(loop.known for loops in found[stage] for loop in loops)


def test_instructions_are_told_apart() -> None:
    listing = "\n".join(
        (
            ".L_x_0:",
            "        /*0230*/                   HGMMA.64x32x16.F32.BF16 R24, gdesc[UR12], RZ ;",
            "        /*0240*/                   HMMA.1688.F32.TF32 R4, R8, R9, R4 ;",
            "        /*0250*/                   MUFU.EX2 R3, R3 ;",
            "        /*0260*/               @P0 BRA `(.L_x_0) ;",
        )
    )
    code = sass.parse(" REG:32 STACK:0 SHARED:0", listing)
    (_, loop) = code.loops
    assert (loop.mix.flops_16, loop.mix.flops_tf32) == (2 * 64 * 32 * 16 / 4, 2 * 16 * 8 * 8)
    assert (loop.mix.special, loop.mix.instructions) == (1, 4)


def test_a_compiled_walk_has_its_products_in_the_loop_over_chunks() -> None:
    config = Variant.default("split", PROBLEM).config("chunk_h")
    spec, target = KERNELS["chunk_h"], target_named("h100")
    with WorkerPool(1) as pool:
        job = compile_job("split", "chunk_h", config, problem=PROBLEM, target=target)
        resources = row_of(pool.one(job)).resources
    assert resources is not None
    source = source_loops(render(spec, PROBLEM, config, interpret=False), {"T": 640})
    passes = trips(resources.loops, source)
    assert max(passes) == 640 // int(config["BT"])
    flops = sum(n * loop.mix.flops_16 for n, loop in zip(passes, resources.loops, strict=True))
    # w S and k^T v_new of every token, over the slices of V; a slice has a program
    slices = -(-PROBLEM.V // int(config["BV"]))
    assert flops * resources.warps * slices == 2 * 2 * 640 * PROBLEM.K * PROBLEM.V
