"""Launches and their bytes, counted without a GPU, against counts by hand."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import pytest
import torch

from bench.static import __main__ as command
from bench.static import fla, ours, report
from bench.static.launch import Counted, Launch
from bench.static.recorder import Call, recording
from gdn_ops.codegen.compiled.occupancy import Occupancy
from gdn_ops.codegen.compiled.resources import Resources
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.targets import target_named
from gdn_ops.codegen.traffic import variant_bytes
from gdn_ops.codegen.variant import Variant

H200 = target_named("h200")
FORWARD = Problem(
    op="forward", H=2, HV=4, K=32, V=32, dtype="bf16", tokens=256, sequences=1
)  # fmt: skip
BACKWARD = replace(FORWARD, op="backward")
PEER = """
import torch
import triton
import triton.language as tl


@triton.heuristics({"DOUBLED": lambda args: args["factor"] is not None})
@triton.autotune([triton.Config({"BK": 16}, num_warps=w) for w in (1, 2)], key=["K"])
@triton.jit
def copy(x, y, factor, K: tl.constexpr, DOUBLED: tl.constexpr, BK: tl.constexpr):
    for i_k in range(tl.cdiv(K, BK)):
        o_k = tl.program_id(0) * K + i_k * BK + tl.arange(0, BK)
        b_x = tl.load(x + o_k)
        tl.store(y + o_k, b_x * factor if DOUBLED else b_x)


def chunk_gated_delta_rule_fwd(q, k, v, g, beta, scale, **options):
    return g, v, torch.empty(*g.shape, options["chunk_size"], dtype=k.dtype, device=k.device)


def chunk_gated_delta_rule_bwd(do, A, **inputs):
    grid = lambda meta: (do.numel() // meta["BK"],)
    copy[grid](do, y=torch.empty_like(do), factor=None, K=do.shape[-1])
    return do.view(-1).add_(1.0), torch.zeros_like(A)
"""


@pytest.fixture
def peer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package of the peer's name and entry points, with one kernel that copies."""
    folder = tmp_path / "fla" / "ops" / "gated_delta_rule"
    folder.mkdir(parents=True)
    (folder / "chunk.py").write_text(PEER)
    root = str(Path(__file__).parents[2])
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{root}")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "triton"))


def test_operations_that_compute_are_launches_and_views_are_none() -> None:
    x = torch.empty(4, 8, device="meta")
    with recording() as recorder:
        y = x.view(2, 16).t() + 1.0
        y.add_(y)
        torch.empty_like(y)
        y.new_zeros(3)
    assert [(call.kernel, call.bytes) for call in recorder.calls] == [
        ("aten.add", 2 * 4 * 32),
        ("aten.add_", 4 * 32),
        ("aten.new_zeros", 4 * 3),
    ]


def test_a_peers_launches_are_read_from_its_launchers(peer: None) -> None:
    launches = fla.launches(BACKWARD, H200)
    assert [(x.kernel, x.bytes, x.compiled) for x in launches] == [
        ("copy", 64 + 64, 2),
        ("aten.add_", 64, 0),
        ("aten.zeros_like", 128, 0),
    ]
    needs = launches[0].needs
    assert needs is not None
    assert needs.stack == 0
    assert 0 < needs.registers < 64
    assert 10 < needs.instructions < 500
    assert launches[1].needs is None


def test_of_a_tuning_list_the_config_that_spills_least_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def need(stack: int, instructions: int, shared: int = 0) -> Resources:
        return Resources(
            warps=4, registers=32, stack=stack, shared=shared, tensor_memory=0,
            instructions=instructions, matrix={}, copies={}, local=0, binary=0, seconds=0.0,
            cached=False, occupancy=Occupancy(1, 4, 0.1, "warps"),
        )  # fmt: skip

    made = {"a": need(8, 10), "b": need(0, 30), "c": need(0, 20), "d": need(0, 5, 1 << 20)}
    compiles = {name: partial(made.__getitem__, name) for name in made}
    monkeypatch.setattr(fla, "compiled_of", lambda kernel, target, made, **options: made)
    monkeypatch.setattr(fla, "resources_of", lambda made: made)
    call = Call(kernel="k", bytes=256 * 4 * 3, compiles=compiles)
    launch = fla.launch_of(call, FORWARD, H200, True)
    assert (launch.config, launch.compiled, launch.spilling, launch.bytes) == ("c", 4, 1, 3)
    call = Call(kernel="k", bytes=0, compiles={"d": compiles["d"]})
    assert fla.launch_of(call, FORWARD, H200, True).remark == "no config can start there"


def test_a_peer_that_fails_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(RuntimeError, match=r"not counted for backward-.*: exit status 1"):
        fla.launches(BACKWARD, H200)


@pytest.mark.parametrize("problem", [FORWARD, BACKWARD, replace(BACKWARD, HV=2)])
def test_our_launches_move_what_traffic_counts(problem: Problem) -> None:
    counts = {c.plan: c for c in ours.counted(problem, H200, compile=False)}
    assert "split" in counts
    assert "torch" not in counts
    for plan, count in counts.items():
        if plan not in PLANS:
            continue
        kernels = [x for x in count.launches if not x.kernel.startswith("aten.")]
        variant = Variant.default(plan, problem)
        names = [spec.name for spec in PLANS[plan].specs(problem) if spec.language == "triton"]
        assert [x.kernel for x in kernels] == names
        if len(kernels) == len(variant.stages):
            assert count.bytes == variant_bytes(variant, problem)


def test_sums_over_value_heads_are_launches_of_pytorch() -> None:
    counts = {c.plan: c for c in ours.counted(BACKWARD, H200, compile=False)}
    sums = [x for x in counts["split"].launches if x.kernel.endswith("(bwd_total)")]
    assert [x.kernel for x in sums] == ["aten.sum (bwd_total)"] * 2
    # two heads' parts of 32 bf16 channels come in for each that goes out
    assert all(x.bytes >= 64 + 32 for x in sums)


@pytest.mark.parametrize(
    ("keep", "spared"),
    [
        ("inverse", {"gate_cumsum", "solve"}),
        ("states", {"gate_cumsum", "solve", "chunk_wu", "chunk_h"}),
    ],
)
def test_a_backward_makes_nothing_again_that_was_kept(keep: str, spared: set[str]) -> None:
    counts = {c.plan: c for c in ours.counted(BACKWARD, H200, compile=False)}
    every = [x.kernel for x in counts["split"].launches]
    fewer = [x.kernel for x in counts[f"split, keeping {keep}"].launches]
    assert fewer == [kernel for kernel in every if kernel not in spared]


def test_our_kernels_are_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDN_CACHE_DIR", str(tmp_path))
    (count,) = ours.counted(FORWARD, H200, plans=["recurrent"])
    (launch,) = count.launches
    assert launch.needs is not None
    assert launch.needs.registers > 20
    assert launch.needs.instructions == report_number(count, "instructions>")
    assert report_number(count, "stack>") == launch.needs.stack
    assert Launch.from_json(json.loads(json.dumps(asdict(launch)))) == launch


def report_number(count: Counted, column: str) -> int:
    return int(report.plan_row((count, None))[report.PLANS.index(column)])


def test_what_did_not_compile_is_no_sum() -> None:
    launch = Launch(kernel="scan", bytes=1.5, remark="timeout")
    row = report.plan_row((Counted(plan="p", problem=FORWARD, launches=(launch,)), None))
    assert row[5:] == ("?", "?", "?", "see scan", "?")
    assert report.kernel_row("p", launch)[-1] == "timeout"


def test_the_command_without_the_peer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = (Counted(plan="p", problem=FORWARD, launches=(Launch(kernel="scan", bytes=7),)), None)
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    monkeypatch.setattr(command, "our_pairs", lambda op, target: [pair])
    out = tmp_path / "rows.json"
    monkeypatch.setattr(sys, "argv", ["static", "--json", str(out)])
    command.main()
    printed = capsys.readouterr()
    assert command.INSTALL in printed.err
    assert "every kernel" in printed.out
    assert json.loads(out.read_text())["counts"][0]["bytes"] == 7
    assert "| p forward | scan | 7 |" in out.with_suffix(".md").read_text()
