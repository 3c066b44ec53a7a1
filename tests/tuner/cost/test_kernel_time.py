"""Predicted times of kernels, from what the compiler reports of them."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

import pytest

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.compiled.loops import Loop, Mix
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.traffic import stage_bytes
from gdn_ops.codegen.variant import Variant
from gdn_ops.tuner.cost.kernel_time import expected_seconds, kernel_time
from gdn_ops.tuner.cost.program import partitions_of, program_of
from gdn_ops.tuner.cost.reached import REACHED
from tests.tuner.cost.compiled import BF16, CYCLE, H200, resources


def test_a_kernel_takes_its_slowest_part_and_some_of_what_it_does_not_hide() -> None:
    config = Variant.default("split", BF16).config("chunk_h")
    light = kernel_time("chunk_h", BF16, config, H200, resources(instructions=1))
    moved = stage_bytes_of("chunk_h", config)
    assert light.memory == pytest.approx(moved / (REACHED.memory * H200.bandwidth))
    assert light.bound == "memory"
    assert light.seconds == pytest.approx(REACHED.launch + light.memory)
    busy = kernel_time("chunk_h", BF16, config, H200, resources(instructions=10**6))
    assert busy.bound == "issue"
    again = kernel_time("chunk_h", BF16, config, H200, resources(far=1e6))
    assert again.bound == "far" and again.seconds == pytest.approx(REACHED.launch + again.far)
    waiting = kernel_time("chunk_h", BF16, config, H200, resources(cycles=20_000.0))
    chunks = 8192 / int(config["BT"])
    assert waiting.chain == pytest.approx(chunks * 20_000 * CYCLE)
    assert waiting.bound == "chain"
    both = replace(waiting, issue=waiting.chain).seconds - REACHED.launch
    assert both == pytest.approx(2 ** (1 / REACHED.overlap) * waiting.chain)


def test_the_longest_sequence_decides_how_long_a_walk_is() -> None:
    problem = replace(BF16, sequences=4, varlen=True)
    config = Variant.default("split", problem).config("chunk_h")
    waiting = resources(cycles=20_000.0)
    mean, longest = (
        kernel_time("chunk_h", problem, config, H200, waiting, longest=tokens)
        for tokens in (None, 4096)
    )
    assert longest.chain == pytest.approx(2 * mean.chain)
    assert (longest.issue, longest.memory) == (mean.issue, mean.memory)


def test_partitions_run_side_by_side() -> None:
    loops = (
        Loop(-1, Mix(instructions=50, cycles=100.0)),
        # the loop in which warps wait for their partition's work
        Loop(0, Mix(instructions=90, cycles=900.0)),
        Loop(1, Mix(instructions=300, cycles=800.0, path=512.0)),
        Loop(2, Mix(instructions=3, cycles=40.0)),  # asks a barrier
        Loop(1, Mix(instructions=80, cycles=200.0)),  # copies
        Loop(0, Mix(instructions=500, cycles=1000.0, path=512.0, matrix=600.0)),
    )
    program = program_of(partitions_of(loops, 10.0, 20.0))
    assert program.chain == 100 + 20 * 1000
    # a warp of each of four schedulers runs them, but a single one copies
    assert program.issue == pytest.approx(50 + 90 + 3 + 10 * (300 + 500 + 80 / 4))
    halves = program_of(partitions_of(loops, 10.0, 20.0), kinds=2)
    assert halves.chain == program.chain
    assert halves.issue == pytest.approx(50 + 90 + 3 + 5 * (300 + 500 + 80 / 4))


def test_one_warp_starts_products_into_tensor_memory_for_all() -> None:
    walk = Loop(0, Mix(instructions=500, alone=100, cycles=900.0, path=64.0, tensor=600.0), warps=8)
    program = program_of(partitions_of((Loop(-1, Mix(cycles=50.0)), walk), 10.0, 10.0))
    assert program.chain == 50 + 10 * 900
    assert program.issue == pytest.approx(10 * (8 * 400 + 100) / 4)
    assert program.matrix == 10 * 600


@pytest.mark.parametrize(
    ("plan", "stage"), [("fused_sm90", "scan_sm90"), ("fused_sm100", "scan_sm100")]
)
def test_the_walks_in_gluon_are_predicted(plan: str, stage: str) -> None:
    problem = replace(BF16, K=128, V=128, tokens=4096)
    variant = Variant.default(plan, problem)
    found = [
        kernel_time(
            stage, replace(problem, tokens=tokens), variant.config(stage), H200,
            resources(cycles=1000.0, partitioned=True),
        ).chain
        for tokens in (4096, 8192)
    ]  # fmt: skip
    assert found == pytest.approx([64 * 1000 * CYCLE, 128 * 1000 * CYCLE])


@pytest.mark.parametrize("sequences", [1, 4])
@pytest.mark.parametrize("varlen", [False, True])
def test_a_program_of_a_segment_waits_for_that_segment_alone(sequences: int, varlen: bool) -> None:
    problem = replace(BF16, sequences=sequences, varlen=varlen)
    variant = Variant.of("segmented", problem, {"BT": 64, "SEG": 8})
    segments = 8192 // (64 * 8)
    waiting = resources(cycles=1200.0)
    # a loop's passes, and the programs of a value head
    expected = {
        "segment_map": (8, 4 * segments),
        "segment_carry": (segments // sequences - 1, 4 * sequences),
        "segment_scan": (8, 2 * segments),
    }
    for stage, (passes, programs) in expected.items():
        axes = {"BV": 16} if stage == "segment_carry" else {"BV": 32}
        config = {**variant.config(stage), **axes}
        found = kernel_time(stage, problem, config, H200, waiting)
        rounds = ceil(ceil(programs * 8 / H200.sms) / 4)
        assert found.chain == pytest.approx(rounds * passes * 1200 * CYCLE), stage
        assert found.issue > 0


def stage_bytes_of(stage: str, config: Config) -> float:
    return stage_bytes(KERNELS[stage], BF16, config) * BF16.tokens * BF16.HV


def test_candidates_without_known_loops_come_last() -> None:
    config = Variant.default("split", BF16).config("chunk_h")
    known = resources().to_json()
    assert expected_seconds("chunk_h", BF16, config, H200, known) < 1
    assert expected_seconds("chunk_h", BF16, config, H200, {}) == float("inf")
    older = resources(cycles=0.0).to_json()
    assert expected_seconds("chunk_h", BF16, config, H200, older) == float("inf")


@pytest.mark.parametrize("spec", KERNELS.values(), ids=KERNELS)
def test_only_sums_in_pytorch_beside_kernels_are_predicted_by_their_bytes(spec: KernelSpec) -> None:
    beside = any(
        spec in specs and any(other.language == "triton" for other in specs)
        for plan in PLANS.values()
        for op in ("forward", "backward", "decode", "pool")
        for specs in [plan.specs(replace(BF16, op=op, gate_in_kernel=True))]
    )
    assert spec.sums_only == (spec.language == "torch" and beside)
