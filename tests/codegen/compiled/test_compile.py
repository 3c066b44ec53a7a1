"""Every Triton stage compiles for targets that are not here; its default config spills nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import triton
from _pytest.mark import ParameterSet

from gdn_ops.codegen.axis import Value, defaults
from gdn_ops.codegen.compiled.compile import cause, compile_stage, launch_options, signature
from gdn_ops.codegen.errors import CompileError, InvalidConfig
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.plan import Plan
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.rule import Rule
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.targets import TARGETS, measured_target, target_named
from gdn_ops.tuner.spaces.config_sets import corner_candidates, default_configs, refusals
from gdn_ops.tuner.workers.offline import CompileRow, compile_job, row_of
from gdn_ops.tuner.workers.worker_pool import Job, WorkerPool
from tests.codegen.compiled.spills import IN_BASELINES, VERSION, stack_of

PROBLEM = Problem(
    op="forward", H=16, HV=32, K=128, V=128, dtype="bf16", tokens=2048, sequences=1,
    initial_state=True, final_state=True,
)  # fmt: skip
PACKED = replace(PROBLEM, sequences=4, varlen=True, gate_in_kernel=True, dt_bias=True)
ARCHS = ("a100", "h200", "b200")
PORTABLE = [plan for plan in PLANS.values() if "_sm" not in plan.name]
"""The plans that run on every GPU; the stages of the others are in test_*_sm*_code.py."""
ONE_TARGET_AN_ARCH = list({t.arch: t.name for t in TARGETS.values() if t.gpu}.values())
ALONE_IN_GLUON_PLANS = ("gate_solve",)
STAGES = [
    name
    for name, spec in KERNELS.items()
    if spec.language == "triton" and name not in ALONE_IN_GLUON_PLANS
]
H200 = target_named("h200")
SPILLING = {
    ("bwd_dqkvg", "fp32"),
    ("scan", "fp32"),
    ("fused1", "fp32"),
    ("segment_scan", "fp32"),
    ("bwd_scan", "fp32"),
    ("segment_bwd_scan", "fp32"),
    ("segment_bwd_map", "fp32"),
}
"""Not compiled here. Four fp32 products of a chunk of 64 tokens fit no registers: 1.4 KB on sm_90.

Of scan 0.4 KB, of bwd_scan 0.6 KB, of segment_bwd_map 2 to 7 KB.
"""
SPILLING_ON = {("bwd_scan", "a100"), ("segment_bwd_scan", "a100"), ("segment_bwd_map", "a100")}
"""Up to 160 bytes of 16-bit products, whose operands are in registers there."""
UNREAD = {"3.6": ("sm_103", "sm_121")}
"""Architectures that a version of Triton compiles for and its disassembler does not know."""
CONFIG = {**defaults(PLANS["split"].axes), **defaults(KERNELS["gate_cumsum"].axes)}


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerPool]:
    folder = tmp_path_factory.mktemp("compile")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GDN_CACHE_DIR", str(folder / "rendered"))
        with WorkerPool(2, threads=1, cache=folder / "triton") as pool:
            yield pool


def problem_for(stage: str, problem: Problem = PROBLEM) -> Problem:
    """The problem, of the first op that has the stage, with a vector gate if it takes one."""
    posed = (
        replace(problem, op=op, rule=rule)
        for rule in (problem.rule, Rule("vector"))
        for op in ("forward", "backward", "pool")
    )
    return next(p for p in posed if any(stage in plan.stages(p) for plan in PORTABLE))


def plan_of(stage: str) -> Plan:
    problem = problem_for(stage)
    return next(plan for plan in PORTABLE if stage in plan.stages(problem))


def default_job(stage: str, problem: Problem, target: Target) -> Job:
    plan = plan_of(stage)
    problem = problem_for(stage, problem)
    (config,) = default_configs(KERNELS[stage], problem, plan)
    assert refusals(KERNELS[stage], problem, plan, config, target) == []
    return compile_job(plan.name, stage, config, problem=problem, target=target, timeout=300)


def corner_jobs(stage: str, step: int) -> list[Job]:
    """Every ``step``-th corner that can run, on one of the architectures in turn or the next.

    Stages begin at different corners, so that an axis they share is seen.
    """
    plan, spec, problem = plan_of(stage), KERNELS[stage], problem_for(stage)
    accepted = []
    for i, corner in enumerate(corner_candidates(spec, problem, plan)):
        turned = [target_named(ARCHS[(i + turn) % len(ARCHS)]) for turn in range(len(ARCHS))]
        targets = [t for t in turned if not refusals(spec, problem, plan, corner, t)]
        accepted += [(corner, target) for target in targets[:1]]
    chosen = accepted[1:][STAGES.index(stage) % min(step, len(accepted) - 1) :: step]
    return [
        compile_job(plan.name, stage, corner, problem=problem, target=target, timeout=300)
        for corner, target in chosen
    ]


def rows(pool: WorkerPool, jobs: list[Job]) -> list[CompileRow]:
    return [row_of(result) for result in pool.run(jobs)]


def default_problems() -> Iterator[ParameterSet]:
    """On Hopper in fp32, on one of the others in turn packed; half of them only exhaustively.

    Dense on Hopper too, unless the committed baselines, which have it, are of this compiler.
    Of fp32 the products are ieee, for the defaults must be right on every vendor's GPUs.
    """
    others = [name for name in ARCHS if name != H200.name]
    for i, stage in enumerate(STAGES):
        posed = {"packed": (PACKED, target_named(others[i % len(others)]))}
        if (stage, "fp32") not in SPILLING:
            posed["fp32"] = (replace(PROBLEM, dtype="fp32"), H200)
        sampled = list(posed)[i // len(others) % len(posed)]
        if triton.__version__ != IN_BASELINES:
            posed["dense"] = (PROBLEM, H200)
        for name, case in posed.items():
            marks = () if name in (sampled, "dense") else pytest.mark.exhaustive
            yield pytest.param(stage, *case, id=f"{stage}-{name}", marks=marks)


@pytest.mark.triton
@pytest.mark.parametrize(("stage", "problem", "target"), list(default_problems()))
def test_a_default_config_compiles_launches_and_spills_nothing(
    pool: WorkerPool, stage: str, problem: Problem, target: Target
) -> None:
    """None has a race, or its status is ``unsound``."""
    row = row_of(pool.one(default_job(stage, problem, target)))
    assert row.status == "ok", (row.message, row.reasons)
    assert row.resources is not None
    allowed = stack_of(stage, target.name, problem.dtype)
    assert row.resources.stack <= allowed or (stage, target.name) in SPILLING_ON, row
    assert row.resources.occupancy.blocks >= 1


@pytest.mark.triton
@pytest.mark.parametrize(
    ("axes", "target"),
    [
        ({"num_warps": 8}, "b200"),
        ({"unroll": True, "BK": 64}, "h200"),
        ({"unroll": True, "BK": 64, "BV": 32}, "h200"),
    ],
)
def test_a_walk_with_an_inverse_of_64_tokens_in_it_spills_nothing(
    pool: WorkerPool, axes: dict[str, Value], target: str
) -> None:
    config = {**KERNELS["fused1"].default(PROBLEM), "layout": "KV", "BT": 64, **axes}
    job = compile_job(
        "fused1", "fused1", config, problem=PROBLEM, target=target_named(target), timeout=300
    )
    row = row_of(pool.one(job))
    assert row.status == "ok", row.message
    assert row.resources is not None
    assert row.resources.stack == 0


@pytest.mark.parametrize("stage", STAGES)
def test_no_default_is_refused_at_any_head_dim(stage: str) -> None:
    plan, spec = plan_of(stage), KERNELS[stage]
    for dim, dtype in product((16, 32, 64, 128, 256), ("bf16", "fp32")):
        problem = replace(problem_for(stage), K=dim, V=dim, dtype=dtype)
        (config,) = default_configs(spec, problem, plan)
        for name in (*ARCHS, "mi300x"):
            assert refusals(spec, problem, plan, config, target_named(name)) == []


@pytest.mark.parametrize("step", [20, pytest.param(1, marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize("stage", STAGES)
def test_corner_configs_compile(pool: WorkerPool, stage: str, step: int) -> None:
    jobs = corner_jobs(stage, step)
    assert jobs
    for row in rows(pool, jobs):
        assert row.status in ("ok", "unlaunchable"), (row.config, row.message)


@pytest.mark.triton
@pytest.mark.parametrize("name", ONE_TARGET_AN_ARCH)
def test_every_architecture_of_the_table_compiles(pool: WorkerPool, name: str) -> None:
    target = target_named(name)
    row = row_of(pool.one(default_job("gate_cumsum", PROBLEM, target)))
    assert row.status == "ok", row.message
    if target.arch in UNREAD.get(VERSION, ()):
        assert row.resources is None
        assert "Cannot decode architecture" in row.message
        return
    assert row.resources is not None
    assert row.resources.warps == CONFIG["num_warps"]
    assert 8 < row.resources.registers < 64
    assert row.resources.instructions > 50
    # the prefix sum over a chunk's tokens crosses warps
    assert 0 < row.resources.shared < 4096
    assert row.resources.occupancy.warps == target.warps_sm
    assert row.resources.binary > 1000


def test_a_second_compile_comes_from_the_cache(pool: WorkerPool) -> None:
    job = compile_job("split", "gate_cumsum", CONFIG, problem=PROBLEM, target=H200)
    first, second = (row_of(pool.one(job)).resources for _ in range(2))
    assert first is not None
    assert second is not None
    assert second.cached
    assert replace(second, seconds=0.0, cached=False) == replace(first, seconds=0.0, cached=False)


def test_a_refusal_of_the_compiler_is_one_line(pool: WorkerPool) -> None:
    job = compile_job("split", "gate_cumsum", {**CONFIG, "BH": 3}, problem=PROBLEM, target=H200)
    row = row_of(pool.one(job))
    assert row.status == "compile-error"
    assert "\n" not in row.message
    for part in ("gate_cumsum", "BH=3", "h200 (sm_90)", "power of 2", "tl.arange(0, BH)"):
        assert part in row.message


def test_what_cannot_start_there_is_told_with_its_reason(pool: WorkerPool) -> None:
    config = {**CONFIG, "num_warps": 64}
    row = row_of(
        pool.one(compile_job("split", "gate_cumsum", config, problem=PROBLEM, target=H200))
    )
    assert row.status == "unlaunchable"
    assert "2048 threads" in row.reasons[0]


@pytest.mark.triton
def test_what_can_go_wrong_whatever_its_inputs_is_told(pool: WorkerPool) -> None:
    """The pipeline that bwd_dqkvg refuses on sm_90, while compilers make it race."""
    problem = replace(problem_for("bwd_dqkvg"), rule=Rule("scalar", delta=False))
    (config,) = default_configs(KERNELS["bwd_dqkvg"], problem, PLANS["split"])
    assert config["num_stages"] == 1
    piped = {**config, "num_stages": 2}
    job = compile_job("split", "bwd_dqkvg", piped, problem=problem, target=H200, timeout=300)
    row = row_of(pool.one(job))
    assert row.status == "unsound", row.message
    assert row.resources is not None
    assert {"b_h", "b_dh", "b_n", "b_do"} == {re.findall(r"into (\w+)", r)[0] for r in row.reasons}


def test_an_architecture_nobody_knows_costs_one_job(pool: WorkerPool) -> None:
    target = measured_target("Future", "nvidia", "sm_990", sms=1)
    row = row_of(pool.one(default_job("gate_cumsum", PROBLEM, target)))
    assert row.status in ("crash", "compile-error")
    assert row.resources is None
    assert row_of(pool.one(default_job("gate_cumsum", PROBLEM, H200))).status == "ok"


def test_the_interpreter_compiles_nothing(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match="TRITON_INTERPRET=1"):
        compile_stage(KERNELS["gate_cumsum"], PROBLEM, CONFIG, target=H200, folder=tmp_path)


def test_only_triton_stages_are_compiled_and_only_for_gpus(tmp_path: Path) -> None:
    spec = KERNELS["gate_cumsum"]
    with pytest.raises(InvalidConfig, match="cannot be compiled for cpu"):
        compile_stage(spec, PROBLEM, CONFIG, target=target_named("cpu"), folder=tmp_path)
    with pytest.raises(InvalidConfig, match=r"gate_cumsum \(torch\)"):
        torch_spec = replace(spec, template="torch/any")
        compile_stage(torch_spec, PROBLEM, CONFIG, target=H200, folder=tmp_path)


def test_a_signature_has_the_type_of_every_parameter() -> None:
    assert signature(KERNELS["gate_cumsum"], PACKED, CONFIG) == {
        "g": "*fp32",
        "A_log": "*fp32",
        "dt_bias": "*fp32",
        "cu_seqlens": "*i32",
        "chunk_indices": "*i32",
        "gc": "*fp32",
        "T": "i32",
    }


def test_fma_contraction_is_always_passed() -> None:
    spec = KERNELS["gate_cumsum"]
    bare = replace(spec, axes=tuple(axis for axis in spec.axes if not axis.launch))
    assert launch_options(bare, CONFIG) == {"enable_fp_fusion": True}
    assert launch_options(spec, {**CONFIG, "enable_fp_fusion": False}) == {
        "num_warps": CONFIG["num_warps"],
        "num_stages": CONFIG["num_stages"],
        "enable_fp_fusion": False,
    }


def test_the_cause_is_the_innermost_error() -> None:
    inner = ValueError("arange's range must be a power of 2")
    outer = RuntimeError("at 1:4: something")
    outer.__cause__ = inner
    assert cause(outer) == "ValueError: arange's range must be a power of 2"


def test_the_cause_of_an_assembler_is_its_error() -> None:
    log = """Internal Triton PTX codegen error
        `ptxas` stderr:
        ptxas k.ptx, line 12; error   : Illegal operand type
        ptxas fatal   : Ptx assembly aborted due to errors
        Repro command: ptxas --gpu-name=sm_90a k.ptx
    """
    assert cause(RuntimeError(log)) == (
        "RuntimeError: ptxas k.ptx, line 12; error   : Illegal operand type"
    )
