"""Stage bwd_total alone: sums over value heads and over chunks."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.kernels.bwd_total import SPEC
from gdn_ops.codegen.module_cache import load_module
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.render import render
from tests.codegen.kernels.split_case import SplitCase, torch_dtype

CASE = SplitCase(B=2, T=5, H=2, HV=6, K=20)
CHUNKS = 7


def problem_of(case: SplitCase, *, raw: bool = False, dt_bias: bool = False) -> Problem:
    return replace(case.problem, gate_in_kernel=raw, dt_bias=dt_bias)


def parts(case: SplitCase, store: str = "io") -> dict[str, Tensor]:
    torch.manual_seed(0)
    kept = torch_dtype("fp32" if store == "fp32" else case.dtype)
    x = {name: torch.randn(case.B, case.T, case.HV, case.K) for name in ("dq_heads", "dk_heads")}
    x = {name: value.to(kept) for name, value in x.items()}
    sums = {name: torch.randn(CHUNKS, case.HV) for name in ("dA_log_chunks", "ddt_bias_chunks")}
    return {**x, **sums}


def run(
    problem: Problem, x: dict[str, Tensor], folder: Path, store: str = "io"
) -> dict[str, Tensor]:
    config: Config = {"BT": 16, "store": store}
    module = load_module(SPEC.name, render(SPEC, problem, config), folder)
    out = module.bwd_total(*(x[name] for name in SPEC.arguments(problem, config)))
    return dict(zip(SPEC.outputs(problem, config), out, strict=True))


@pytest.mark.triton
@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("store", ["io", "fp32"])
def test_value_heads_are_summed_in_fp32(store: str, dtype: str, tmp_path: Path) -> None:
    case = CASE.with_(dtype=dtype)
    x = parts(case, store)
    out = run(problem_of(case), x, tmp_path, store)
    assert set(out) == {"dq", "dk"}
    for name, value in out.items():
        heads = x[f"{name}_heads"].double().view(case.B, case.T, case.H, -1, case.K)
        expected = heads.sum(3)
        assert value.dtype is torch_dtype(dtype)
        assert value.is_contiguous()
        # one rounding to dtype, and three of fp32
        torch.testing.assert_close(
            value.double(), expected, rtol=torch.finfo(value.dtype).eps / 2, atol=1e-6
        )


@pytest.mark.triton
@pytest.mark.parametrize("dt_bias", [True, False])
@pytest.mark.parametrize("H", [2, 6])
def test_chunks_are_summed_in_fp32(H: int, dt_bias: bool, tmp_path: Path) -> None:
    case = CASE.with_(H=H, dtype="bf16")
    x = parts(case)
    out = run(problem_of(case, raw=True, dt_bias=dt_bias), x, tmp_path)
    gates = {"dA_log", "ddt_bias"} if dt_bias else {"dA_log"}
    assert set(out) == gates | ({"dq", "dk"} if H < case.HV else set())
    for name in gates:
        assert out[name].dtype is torch.float32
        expected = x[f"{name}_chunks"].double().sum(0)
        torch.testing.assert_close(out[name].double(), expected, rtol=1e-6, atol=1e-6)


def test_no_chunks_sum_to_zero(tmp_path: Path) -> None:
    x = {name: value[:0] for name, value in parts(CASE).items()}
    out = run(problem_of(CASE, raw=True, dt_bias=True), x, tmp_path)
    assert out["dA_log"].tolist() == out["ddt_bias"].tolist() == [0.0] * CASE.HV


@pytest.mark.parametrize(("dtype", "store"), [("bf16", "io"), ("bf16", "fp32"), ("fp32", "io")])
@pytest.mark.parametrize(("H", "raw"), [(2, True), (2, False), (6, True)])
def test_the_rendered_file_looks_written_by_hand(H: int, raw: bool, dtype: str, store: str) -> None:
    problem = problem_of(CASE.with_(H=H, dtype=dtype), raw=raw)
    source = render(SPEC, problem, {"BT": 16, "store": store})
    names = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)]
    read = {node.id for node in names if isinstance(node.ctx, ast.Load)}
    assert {node.id for node in names if isinstance(node.ctx, ast.Store)} <= read
    # 16-bit parts are rounded by the sum itself: a cast would be a launch more
    cast = H < CASE.HV and (dtype, store) == ("bf16", "fp32")
    assert ("\n\nimport torch\n\n" in source) is (".to(torch.bfloat16)" in source) is cast
    assert "\n\n\ndef bwd_total(" in source
    assert max(map(len, source.splitlines())) <= 100
    assert source.endswith("\n") and not source.endswith("\n\n")
