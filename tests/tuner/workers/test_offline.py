"""Offline compilation: which configs, what is pruned and why, and in which order to time them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gdn_ops.codegen.axis import Axis, Value, defaults
from gdn_ops.codegen.compiled.occupancy import Occupancy
from gdn_ops.codegen.compiled.resources import Resources
from gdn_ops.codegen.errors import InvalidConfig, UnknownName
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.plan import Plan
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.targets import target_named
from gdn_ops.tuner.spaces.config_sets import (
    all_configs,
    corner_candidates,
    corner_configs,
    default_configs,
    refusals,
)
from gdn_ops.tuner.workers.offline import CompileRow, compile_job, compile_variants, rank, row_of
from gdn_ops.tuner.workers.worker_pool import Job, JobResult, WorkerPool

PROBLEM = Problem(op="forward", H=2, HV=4, K=64, V=64, dtype="bf16", tokens=256, sequences=1)
H200 = target_named("h200")
PLAN = Plan(
    name="toy",
    doc="",
    axes=(Axis("BT", (16, 32, 64), 32, "tokens"), Axis("unread", (1, 2), 1, "of another stage")),
    stages=lambda problem: ("toy",),
    refusals=lambda problem, config, target: [],
)
SPEC = KernelSpec(
    name="toy",
    template="triton/toy",
    doc="",
    equation="",
    shared=("BT",),
    axes=(
        Axis("BK", (32, 64, 128), 64, "channels"),
        Axis("dot", ("ieee", "tf32", "native"), "native", "precision", precision=True),
        Axis("num_warps", (4,), 4, "warps", launch=True),
    ),
    inputs=lambda problem, config: (),
    outputs=lambda problem, config: (),
    refusals=lambda problem, config, target: ["BT * BK"] * (config["BK"] == 128),
)
BASE = {"BT": 32, "unread": 1, "BK": 64, "dot": "native", "num_warps": 4}


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerPool]:
    folder = tmp_path_factory.mktemp("offline")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GDN_CACHE_DIR", str(folder / "rendered"))
        with WorkerPool(2, threads=1, cache=folder / "triton") as pool:
            yield pool


def default() -> dict[str, Value]:
    (config,) = default_configs(KERNELS["gate_cumsum"], PROBLEM, PLANS["split"])
    return config


def row(**changes: object) -> CompileRow:
    resources = Resources(
        warps=4, registers=128, stack=0, shared=0, tensor_memory=0, instructions=1, matrix={},
        copies={}, local=0, binary=1, seconds=0.1, cached=False,
        occupancy=Occupancy(4, 16, 0.25, "registers"),
    )  # fmt: skip
    stack = changes.pop("stack", 0)
    base = CompileRow(
        plan="split", stage="toy", target="h200", config={}, status="ok",
        resources=replace(resources, stack=stack),  # type: ignore[arg-type]
    )  # fmt: skip
    return replace(base, **changes)  # type: ignore[arg-type]


def test_corners_are_the_default_and_each_axis_at_its_extremes() -> None:
    found = corner_configs(SPEC, PROBLEM, PLAN, H200)
    changes = [{k: v for k, v in config.items() if BASE[k] != v} for config in found]
    assert changes == [{}, {"BT": 16}, {"BT": 64}, {"BK": 32}, {"dot": "ieee"}, {"dot": "tf32"}]
    assert all(config.keys() == BASE.keys() for config in found)


def test_corners_surround_the_problems_own_default() -> None:
    fp32 = replace(PROBLEM, dtype="fp32")
    dots = [config["dot"] for config in corner_candidates(SPEC, fp32, PLAN)]
    assert dots[0] == "ieee", "native, the axis' default, is refused to fp32"
    assert dots.count("ieee") == len(dots) - 2
    assert "ieee" not in dots[-2:]


@pytest.mark.parametrize("dtype", ["bf16", "fp16", "fp32"])
def test_no_stage_refuses_its_own_default(dtype: str) -> None:
    for target in map(target_named, ("h200", "a100", "mi300x")):
        for plan in PLANS.values():
            problem = replace(PROBLEM, dtype=dtype, K=128, V=128, tokens=4096)
            if not plan.verified and plan.reasons(problem, defaults(plan.axes), target):
                continue
            for spec in plan.specs(problem):
                if spec.language == "triton":
                    (config,) = default_configs(spec, problem, plan)
                    assert refusals(spec, problem, plan, config, target) == []


def test_corners_are_the_targets() -> None:
    on_amd = corner_configs(SPEC, PROBLEM, PLAN, target_named("mi300x"))
    assert {config["dot"] for config in on_amd} == {"native", "ieee"}


def test_all_configs_are_a_product_of_what_the_stage_reads() -> None:
    found = list(all_configs(SPEC, PROBLEM, PLAN))
    assert len(found) == 3 * 3 * 3
    assert len({tuple(config.items()) for config in found}) == len(found)
    assert {config["unread"] for config in found} == {1}


def test_a_default_compile_gives_a_row_a_stage(pool: WorkerPool) -> None:
    (found,) = compile_variants(PROBLEM, H200, stages=["chunk_wu"], pool=pool)
    assert (found.plan, found.stage, found.target) == ("split", "chunk_wu", "h200")
    assert found.status == "ok", found.message
    assert found.resources is not None
    assert found.resources.registers > 0
    assert found.resources.occupancy.blocks > 0


def test_a_corner_compile_gives_a_row_a_corner(pool: WorkerPool) -> None:
    plan, spec = PLANS["split"], KERNELS["gate_cumsum"]
    found = list(
        compile_variants(
            PROBLEM, H200, plans=["split"], stages=["gate_cumsum"], configs="corners", pool=pool
        )
    )
    compiled = [row.config for row in found if row.status == "ok"]
    corners = corner_configs(spec, PROBLEM, plan, H200)
    assert sorted(compiled, key=str) == sorted(corners, key=str)


def test_a_refused_config_is_a_row_with_its_reasons(pool: WorkerPool) -> None:
    decode = replace(PROBLEM, op="decode", tokens=8, sequences=8)
    found = list(compile_variants(decode, H200, plans=["split"], stages=["gate_cumsum"], pool=pool))
    assert [row.status for row in found] == ["refused"]
    assert "one token per sequence" in found[0].reasons[0]
    assert found[0].resources is None


def test_a_plan_of_plain_pytorch_compiles_nothing(pool: WorkerPool) -> None:
    assert list(compile_variants(PROBLEM, H200, plans=["torch"], pool=pool)) == []


def test_a_decode_compiles_the_plans_that_decode(pool: WorkerPool) -> None:
    decode = replace(PROBLEM, op="decode", tokens=8, sequences=8)
    found = list(compile_variants(decode, H200, timeout=300, pool=pool))
    assert [(row.plan, row.stage) for row in found] == [("recurrent", "recurrent")]
    assert found[0].status == "ok", found[0].message


def test_workers_end_with_the_iterator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDN_CACHE_DIR", str(tmp_path / "rendered"))
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "triton"))
    closed: list[WorkerPool] = []
    close = WorkerPool.close
    monkeypatch.setattr(WorkerPool, "close", lambda self: (closed.append(self), close(self)))
    found = compile_variants(
        PROBLEM, H200, stages=["gate_cumsum"], configs="corners", jobs=1, timeout=300
    )
    assert next(iter(found)).status == "ok"
    assert not closed
    del found
    assert len(closed) == 1
    assert closed[0].pids == []


def test_a_compiling_worker_loads_nothing_heavy(pool: WorkerPool, tmp_path: Path) -> None:
    names = ["torch", "optuna", "sqlalchemy", "rich", "triton"]
    job = compile_job("split", "gate_cumsum", default(), problem=PROBLEM, target=H200, timeout=300)
    with WorkerPool(1, cache=tmp_path, module="tests.tuner.workers.faulty_worker") as workers:
        assert row_of(workers.one(job)).status == "ok"
        loaded = workers.one(Job(kind="modules", payload={"names": names})).payload
    assert loaded == {**dict.fromkeys(names, False), "triton": True}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"plans": ["splitt"]}, "unknown plan 'splitt'; did you mean 'split'"),
        ({"plans": ["split"], "stages": ["recurrent"]}, "unknown stage of split 'recurrent'"),
        ({"configs": "edges"}, "unknown configs 'edges'"),
    ],
)
def test_unknown_names_are_told_at_once(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UnknownName, match=message):
        compile_variants(PROBLEM, H200, **wrong)


def test_a_cpu_has_nothing_to_compile() -> None:
    with pytest.raises(InvalidConfig, match="nothing to compile for cpu"):
        compile_variants(PROBLEM, target_named("cpu"))


def test_a_failed_job_is_a_row_without_resources() -> None:
    job = compile_job("split", "gate_cumsum", default(), problem=PROBLEM, target=H200)
    dead = JobResult(job=job, status="timeout", message="killed after 60 seconds")
    found = row_of(dead)
    assert (found.status, found.resources, found.message) == (
        "timeout",
        None,
        "killed after 60 seconds",
    )


def test_the_compilers_own_error_is_added_to_its_exceptions() -> None:
    job = compile_job("split", "gate_cumsum", default(), problem=PROBLEM, target=H200)
    printed = "k.py:19:0: error: unsupported target: 'gfx999'\nmodule {\n"
    failed = JobResult(job=job, status="compile-error", message="It failed.", stderr=printed)
    assert row_of(failed).message == ("It failed. The compiler says: unsupported target: 'gfx999'.")


def test_a_spill_is_ranked_down_and_not_banned() -> None:
    rows = [
        row(stage="crashed", status="crash", resources=None),
        row(stage="too large", status="unlaunchable"),
        row(stage="spills much", stack=800),
        row(stage="spills", stack=8),
        row(stage="fits"),
    ]
    assert [r.stage for r in sorted(rows, key=rank)] == [
        "fits",
        "spills",
        "spills much",
        "too large",
        "crashed",
    ]
