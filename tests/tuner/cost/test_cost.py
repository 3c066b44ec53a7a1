"""The cost model: what it counts, how it is judged, and what it is used for."""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from pathlib import Path

import pytest
import torch

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.compiled.loops import Loop, Mix
from gdn_ops.codegen.compiled.occupancy import Occupancy
from gdn_ops.codegen.compiled.resources import Resources
from gdn_ops.codegen.errors import UnsupportedProblem
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.targets import target_named
from gdn_ops.codegen.traffic import stage_bytes
from gdn_ops.codegen.variant import Variant
from gdn_ops.dispatch.choice import choose
from gdn_ops.dispatch.winner_table import WinnerTable
from gdn_ops.dispatch.winners import read_winners
from gdn_ops.tuner.cli import run
from gdn_ops.tuner.cost.judgement import judge, spearman
from gdn_ops.tuner.cost.kernel_time import expected_seconds, kernel_time
from gdn_ops.tuner.cost.model import CostModel
from gdn_ops.tuner.cost.prediction import predict
from gdn_ops.tuner.cost.program import partitions_of, program_of
from gdn_ops.tuner.cost.rates import Rates
from gdn_ops.tuner.cost.reached import REACHED
from gdn_ops.tuner.cost.tape import Tape
from gdn_ops.tuner.cost.torch_time import torch_seconds
from gdn_ops.tuner.store.models import utc_now
from gdn_ops.tuner.store.records import Outcome, Trial, TrialKey
from gdn_ops.tuner.workers.worker_pool import WorkerPool
from tests.json_documents import documented
from tests.results import Bench

PROBLEM = Problem(op="forward", H=4, HV=8, K=64, V=64, dtype="fp32", tokens=512, sequences=1)
BF16 = replace(PROBLEM, dtype="bf16", tokens=8192)
RATES = Rates(flops={torch.float32: 1e11, torch.bfloat16: 4e11}, moved=2e10, fresh=1e9, op=5e-6)
H200 = target_named("h200")


def test_the_tape_counts_products_bytes_and_room() -> None:
    a, b = (torch.empty(2, 8, 16, device="meta"), torch.empty(2, 16, 4, device="meta"))
    with Tape() as tape:
        c = torch.bmm(a, b)
        c.transpose(1, 2).add_(1.0)
    product, add = tape.ops
    assert (product.flops, product.rows) == (2 * 2 * 8 * 16 * 4, 8)
    assert (product.fresh, product.bytes) == (4 * 64, 4 * (256 + 128 + 64))
    assert (add.flops, add.fresh, add.bytes) == (0.0, 0, 4 * 64)


def test_more_tokens_and_smaller_chunks_cost_what_they_should() -> None:
    usual = Variant.default("torch", PROBLEM)
    seconds = torch_seconds(PROBLEM, usual, RATES)
    double = torch_seconds(replace(PROBLEM, tokens=1024), usual, RATES)
    assert 1.6 < double / seconds < 2.2
    small = Variant.of("torch", PROBLEM, {}, {"torch_chunk": {"BT": 16, "AHEAD": 1}})
    slow_calls = replace(RATES, op=1e-3)
    assert torch_seconds(PROBLEM, small, slow_calls) > 2 * torch_seconds(PROBLEM, usual, slow_calls)


def test_packed_sequences_are_refused_by_name() -> None:
    packed = replace(PROBLEM, varlen=True, sequences=4)
    with pytest.raises(UnsupportedProblem, match="lengths of its packed"):
        torch_seconds(packed, Variant.default("torch", packed), RATES)


def resources(
    *, instructions: int = 100, cycles: float = 1.0, far: float = 0.0, partitioned: bool = False
) -> Resources:
    mix = Mix(instructions=instructions, cycles=cycles, far=far)
    return Resources(
        warps=4, registers=64, stack=0, shared=0, tensor_memory=0, instructions=instructions,
        matrix={}, copies={}, local=0, binary=1, seconds=0.0, cached=False,
        occupancy=Occupancy(blocks=4, warps=16, fraction=0.25, limit="registers"),
        loops=(Loop(-1, Mix()), Loop(0, mix)), partitioned=partitioned,
    )  # fmt: skip


CYCLE = H200.sms * 256 / H200.flops_fp32 / REACHED.clock


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


def test_the_walks_for_hopper_are_predicted() -> None:
    problem = replace(BF16, K=128, V=128, tokens=4096)
    variant = Variant.default("fused_sm90", problem)
    found = [
        kernel_time(
            "scan_sm90", replace(problem, tokens=tokens), variant.config("scan_sm90"), H200,
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


class Compiled(CostModel):
    """A cost model for which every kernel compiles to the same code."""

    def __init__(self) -> None:
        with WorkerPool(1, threads=1) as pool:
            super().__init__(H200, pool)

    def compile(self, work: list[tuple[str, str, Problem, Config]]) -> None:
        for _, stage, problem, config in work:
            self._resources[self._key(stage, problem, config)] = resources()


@pytest.mark.parametrize("heads", [(4, 8), (4, 4)])
@pytest.mark.parametrize("gate_in_kernel", [False, True])
def test_every_plan_of_kernels_is_predicted_for_gradients(
    heads: tuple[int, int], gate_in_kernel: bool
) -> None:
    H, HV = heads
    problem = replace(BF16, op="backward", H=H, HV=HV, gate_in_kernel=gate_in_kernel)
    ranking = predict(problem, Compiled(), configs="default")
    compiled = {
        name
        for name in PLANS
        if PLANS[name].verified
        and name != "torch"
        and not Variant.default(name, problem).reasons(problem, H200)
    }
    assert {"split", "fused", "segmented", "recurrent"} <= compiled
    assert {prediction.variant.plan for prediction in ranking.predictions} == compiled
    assert set(ranking.left_out) == {"fused_sm90", "segmented_sm90", "torch"}
    assert "torch_backward is plain PyTorch" in ranking.left_out["torch"]


def test_code_without_loops_is_not_predicted(monkeypatch: pytest.MonkeyPatch) -> None:
    unread = replace(resources(), loops=())
    monkeypatch.setattr(f"{__name__}.resources", lambda: unread)
    with pytest.raises(UnsupportedProblem, match="cannot read the loops of stage"):
        predict(BF16, Compiled(), configs="default")


@pytest.mark.parametrize("spec", KERNELS.values(), ids=KERNELS)
def test_only_sums_in_pytorch_beside_kernels_are_predicted_by_their_bytes(spec: KernelSpec) -> None:
    beside = any(
        spec in specs and any(other.language == "triton" for other in specs)
        for plan in PLANS.values()
        for op in ("forward", "backward", "decode", "pool")
        for specs in [plan.specs(replace(BF16, op=op, gate_in_kernel=True))]
    )
    assert spec.sums_only == (spec.language == "torch" and beside)


def test_spearman_with_equal_values() -> None:
    assert spearman([1, 2, 3, 4], [10, 20, 30, 40]) == 1.0
    assert spearman([1, 2, 3, 4], [4, 3, 2, 1]) == -1.0
    assert spearman([1, 1, 2, 2], [1, 1, 2, 2]) == 1.0
    assert spearman([1, 1, 1, 1], [1, 2, 3, 4]) == 0.0


def trial(variant: Variant, seconds: float) -> Trial:
    stages = {name: dict(config) for name, config in variant.stages}
    key = TrialKey(
        target="cpu", arch="x", problem_id=PROBLEM.id(), scope="plan", plan=variant.plan,
        interface=dict(variant.interface), config=stages,
    )  # fmt: skip
    return Trial(
        id=1, run_id=1, environment_id=1, key=key, variant_id=variant.id,
        outcome=outcome(seconds), created=utc_now(),
    )  # fmt: skip


def outcome(seconds: float) -> Outcome:
    return Outcome(status="ok", median=seconds, low=seconds, high=seconds)


def test_a_judgement_names_correlation_and_regret() -> None:
    variants = [
        Variant.of("torch", PROBLEM, {}, {"torch_chunk": {"BT": BT}}) for BT in (16, 32, 64, 128)
    ]
    measured = dict(zip((v.id for v in variants), (4.0, 1.0, 2.0, 3.0), strict=True))
    trials = [trial(variant, measured[variant.id]) for variant in variants]
    facts = {PROBLEM.id(): PROBLEM.facts()}
    (right,) = judge(trials, facts, lambda problem, variant: 2 * measured[variant.id])
    assert (right.correlation, right.regret, right.ratio) == (1.0, 1.0, 2.0)
    (wrong,) = judge(trials, facts, lambda problem, variant: -measured[variant.id])
    assert (wrong.correlation, wrong.regret, wrong.variants) == (-1.0, 4.0, 4)
    (blind,) = judge(trials, facts, lambda problem, variant: 1.0)
    assert (blind.correlation, blind.regret) == (0.0, 2.5)  # a guess, in the mean
    assert judge(trials[:3], facts, lambda problem, variant: 1.0) == []


def test_predicted_winners_serve_a_gpu_until_one_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workload, db = tmp_path / "one.json", tmp_path / "predicted.db"
    problem = '{"H": 1, "HV": 1, "K": 64, "V": 64, "dtype": "bf16", "sequences": 4, "op": "decode"}'
    workload.write_text(f"[{problem}]")
    command = ["predict", str(workload), "--target", "b200", "--db", str(db)]
    assert run([*command, "--json"]) == 0
    assert not db.exists()  # nothing is stored unasked
    (predicted,) = documented(capsys.readouterr().out)["predictions"]
    (only,) = predicted["variants"]
    assert 0 < only["low_seconds"] < only["predicted_seconds"] < only["high_seconds"]
    assert predicted["lead_probability"] is None
    assert run([*command, "--store"]) == 0
    out, err = capsys.readouterr()
    assert "recurrent" in out and "Stored 1 of 1" in out
    assert (
        "plan torch is not predicted for 1 of 1 problems: stage torch_decode is plain PyTorch"
        in err
    )
    table = WinnerTable(read_winners(db).winners)
    (winner,) = table.winners
    assert (winner.provenance, winner.target) == ("predicted", "b200")
    choice = choose(Problem.from_facts(winner.facts), target_named("b200"), table)
    assert (choice.how, choice.variant.plan) == ("predicted", "recurrent")


def test_bench_model_judges_every_stored_problem(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db = Bench(tmp_path / "rows.db")
    db.store.add_problem(PROBLEM.id(), PROBLEM.facts())
    for BT in (16, 32, 64, 128):
        variant = Variant.of("torch", PROBLEM, {}, {"torch_chunk": {"BT": BT, "AHEAD": 1}})
        db.record(trial(variant, BT * 1e-3).key, outcome(BT * 1e-3), variant=variant)
    db.store.database.close()
    command = ["bench", "--cost-model", "--db", str(tmp_path / "rows.db")]
    assert run([*command, "--json"]) == 0
    out, told = capsys.readouterr()
    (judgement,) = documented(out)["judgements"]
    assert judgement["variants"] == 4
    assert "4 variants of 1 problems: mean rank correlation" in told and PROBLEM.id() in told
    assert run(["bench", *command[2:]]) == 2  # a database without --model
    assert run(["bench", "--cost-model", "--db", str(tmp_path / "none.db")]) == 1


def test_of_a_kernel_that_decides_by_its_tokens_one_path_is_counted() -> None:
    model = Compiled()
    problem = replace(BF16, K=128, V=128)
    config = Variant.default("fused_sm90", problem).config("gate_solve")
    assert config["merge_dot"] == "by_beta"
    mild = model.stage_seconds("fused_sm90", "gate_solve", problem, config)
    ((_, _, counted),) = model._resources
    assert "('merge_dot', 'tf32')" in counted
    fixed = {**config, "merge_dot": "tf32"}
    assert model.stage_seconds("fused_sm90", "gate_solve", problem, fixed) == mild
