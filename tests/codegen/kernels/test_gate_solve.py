"""Stage gate_solve against the sums and triangular solves in fp64 of what it was given."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn.functional import softplus

from gdn_ops.codegen.axis import Value
from gdn_ops.codegen.kernels.gate_solve import SPEC
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.render import render
from gdn_ops.codegen.targets import target_named
from tests.close import assert_close
from tests.codegen.kernels.split_case import SplitCase
from tests.codegen.kernels.wy import BARS, INTERFACE, hard_keys, inverse_of, run, with_gc
from tests.stage_runner import run_stage

CASE = SplitCase(B=1, T=80, K=32, BT=64, HV=1, dtype="bf16")
pytestmark = pytest.mark.filterwarnings("error")  # an exp that overflows, even if masked later


def check(
    case: SplitCase, folder: Path, *, x: dict[str, torch.Tensor] | None = None, **axes: Value
) -> None:
    """Run the stage and compare the rows it must write; it writes no others."""
    x = case.inputs() if x is None else x
    x["g"] = x["g"].clamp(min=-30.0)
    x = with_gc(case, x)
    out = run(SPEC, case, x, folder, **axes)
    expected = {**x, "A": inverse_of(case, x, gate_free=bool(axes.get("gate_free", True)))}
    covered = slice(0, case.covered)
    assert set(out) == ({"A"} if case.gate == "none" else {"gc", "A"})
    for name, value in out.items():
        bar = BARS[case.dtype if name == "A" else "fp32"]
        assert_close(name, expected[name][:, covered], value[:, covered], bar)
        assert value[:, case.covered :].isnan().all()


@pytest.mark.triton
@pytest.mark.parametrize("gate", ["none", "model", "wild"])
def test_gates(gate: str, tmp_path: Path) -> None:
    check(CASE.with_(gate=gate), tmp_path, gate_free=gate == "none")


def test_heads_of_a_group_in_packed_sequences(tmp_path: Path) -> None:
    case = CASE.with_(H=2, HV=4, offsets=(0, 9, 9, 75), T=77)
    check(case, tmp_path, heads="group")
    check(case.with_(dtype="fp32"), tmp_path, gate_free=False)


@pytest.mark.parametrize("most", [1.0, 2.0])
@pytest.mark.parametrize("NC", [2, 4])
def test_keys_that_nearly_repeat_with_beta_up_to_1_and_2(
    most: float, NC: int, tmp_path: Path
) -> None:
    case = CASE.with_(T=64)
    x = hard_keys(case)
    x["beta"] *= most / 2
    check(case, tmp_path, x=x, NC=NC)


def test_a_chunk_whose_inverse_may_be_large_takes_three_passes_and_no_other(tmp_path: Path) -> None:
    case = CASE.with_(T=64)
    x = case.inputs()
    x["beta"] = x["beta"].clamp(max=1.0)
    x["k"] = hard_keys(case)["k"].bfloat16().double()
    x = with_gc(case, x)

    def inverse(dot: str, **changed: torch.Tensor) -> torch.Tensor:
        given = {**x, **changed}
        return run(SPEC, case, given, tmp_path, merge_dot=dot, gate_free=False)["A"]

    one, three = inverse("fp16"), inverse("tf32x3")
    assert not torch.equal(one, three)
    assert torch.equal(inverse("by_beta"), one)
    for beta in (1.01, -0.01):
        other = x["beta"].clone()
        other[0, 5, 0] = beta
        assert torch.equal(inverse("by_beta", beta=other), inverse("tf32x3", beta=other))
    long = x["k"].clone()
    long[0, 40] *= 1.1
    assert torch.equal(inverse("by_beta", k=long), inverse("tf32x3", k=long))


def test_a_raw_gate_is_activated(tmp_path: Path) -> None:
    problem = Problem(
        op="forward", H=1, HV=2, K=32, V=32, dtype="bf16", tokens=70, sequences=1,
        gate_in_kernel=True, dt_bias=True,
    )  # fmt: skip
    case = CASE.with_(T=70, HV=2)
    x = case.inputs()
    torch.manual_seed(1)
    raw = {"g": 4 * torch.randn(1, 70, 2), "A_log": torch.randn(2), "dt_bias": torch.randn(2)}
    g = -raw["A_log"].double().exp() * softplus((raw["g"] + raw["dt_bias"]).double())
    x |= {"g": g.clamp(min=-30.0)}
    x = with_gc(case, x)
    given = {**raw, "k": x["k"].bfloat16(), "beta": x["beta"].float(), "T": 70}
    config = {**INTERFACE, **SPEC.default(problem), "BT": 64, "gate_free": False}
    out = run_stage(SPEC, problem, config, given=given, sizes=case.sizes, folder=tmp_path)
    assert_close("gc", x["gc"], out["gc"], 1e-5)
    assert_close("A", inverse_of(case, x, gate_free=False), out["A"], BARS["bf16"])


def test_refusals_and_defaults() -> None:
    h200, mi300x = target_named("h200"), target_named("mi300x")
    problem = CASE.problem
    config = {**INTERFACE, **SPEC.default(problem), "BT": 64}
    assert SPEC.reasons(problem, config, h200) == []
    assert "by_beta needs NVIDIA tensor cores" in " ".join(SPEC.reasons(problem, config, mi300x))
    single = CASE.with_(dtype="fp32").problem
    config = {**INTERFACE, **SPEC.default(single), "BT": 64}
    assert config["merge_dot"] == "ieee"
    assert SPEC.reasons(single, config, h200) == []
    given = {**config, "merge_dot": "by_beta"}
    assert "by_beta keeps 11 bits" in " ".join(SPEC.reasons(single, given, h200))
    given = {**config, "merge_dot": "fp16"}
    assert "fp16 keeps 11 bits" in " ".join(SPEC.reasons(single, given, h200))
    given["solve"] = "rows"
    assert "fp16 is for solve=doubling" in " ".join(SPEC.reasons(problem, given, h200))
    assert max(map(len, render(SPEC, problem, {**config, "heads": "group"}).splitlines())) <= 100
