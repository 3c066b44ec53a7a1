"""Gradients of plan split with a gate a key channel, against autograd on the fp64 recurrence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from gdn_ops.codegen.axis import Value, defaults
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.targets import target_named
from tests.close import assert_close
from tests.codegen.kernels.backward_case import backward_problem
from tests.codegen.kernels.split_case import SplitCase
from tests.codegen.kernels.vector_case import (
    PER_TOKEN,
    PLAN,
    expected,
    raw_gate,
    run_plan,
    vector_inputs,
)

CASE = SplitCase(B=1, T=21, K=20, V=24, vector=True)
BARS = {"dq": 0.008, "dk": 0.008, "dv": 0.008, "dh0": 0.008}
pytestmark = pytest.mark.filterwarnings("error")  # an exp that overflows, even if masked later


def check(
    case: SplitCase,
    folder: Path,
    *,
    x: dict[str, torch.Tensor] | None = None,
    raw: bool = False,
    **run: Any,
) -> None:
    """Run the backward and compare all gradients; those of no token are not written."""
    problem = backward_problem(case)
    problem = raw_gate(problem) if raw else problem
    x = vector_inputs(case, raw=raw) if x is None else x
    out = run_plan(problem, case, x, folder, **run)
    for name, reference in expected(case, x, gradients=True).items():
        found = out[name]
        if name[1:] in PER_TOKEN:
            assert found[:, case.covered :].isnan().all()
            found = found[:, : case.covered]
        assert_close(name, reference, found, bar(case, name))


def bar(case: SplitCase, name: str) -> float:
    return 1e-4 if case.dtype == "fp32" else BARS.get(name, 0.02)


@pytest.mark.parametrize("delta", [True, False])
@pytest.mark.parametrize("gate", ["zero", "model", "strong", "wild"])
def test_gates(gate: str, delta: bool, tmp_path: Path) -> None:
    check(CASE.with_(gate=gate, delta=delta), tmp_path)


@pytest.mark.parametrize("delta", [True, False])
def test_what_little_a_strong_decay_leaves_of_dg_keeps_its_digits(
    delta: bool, tmp_path: Path
) -> None:
    case = CASE.with_(delta=delta)
    x = vector_inputs(case)
    x["g"] = (-12.0 - torch.rand(x["g"].shape)).double()
    check(case, tmp_path, x=x)


def test_raw_gates_of_value_heads_that_share_a_query_head(tmp_path: Path) -> None:
    check(CASE.with_(H=2, HV=4, initial_state=False), tmp_path, raw=True)


@pytest.mark.triton
@pytest.mark.parametrize("layout", ["KV", "VK"])
@pytest.mark.parametrize("delta", [True, False])
def test_every_shape_of_the_code(delta: bool, layout: str, tmp_path: Path) -> None:
    case = CASE.with_(K=48, V=40, dtype="bf16", T=37, offsets=(0, 9, 9, 35), delta=delta)
    stages = ("bwd_dv_local", "bwd_dh", "bwd_dqkvg")
    axes: dict[str, dict[str, Value]] = {s: {"loads": "descriptor", "BV": 32} for s in stages}
    axes["bwd_dh"] |= {"layout": layout, "BK": 32}
    check(case, tmp_path, axes=axes)


@pytest.mark.parametrize(("K", "V"), [(60, 100), (128, 16)])
def test_head_dims(K: int, V: int, tmp_path: Path) -> None:
    check(CASE.with_(K=K, V=V, HV=1, T=18), tmp_path)


@pytest.mark.parametrize(("BT", "T"), [(16, 1), (32, 39), (64, 64), (128, 67)])
def test_chunk_sizes_and_ragged_lengths(BT: int, T: int, tmp_path: Path) -> None:
    check(CASE.with_(BT=BT, T=T, HV=1, final_state=False), tmp_path)


@pytest.mark.triton
def test_packed_sequences_of_which_some_are_empty(tmp_path: Path) -> None:
    check(CASE.with_(T=40, offsets=(0, 0, 21, 21, 34)), tmp_path, raw=True)


@pytest.mark.triton
def test_16_bits_of_model_heads(tmp_path: Path) -> None:
    check(CASE.with_(T=70, HV=1, K=128, V=128, BT=64, dtype="bf16"), tmp_path)


@pytest.mark.parametrize("change", [{"BK": 64}, {"num_stages": 4}])
def test_one_value_of_what_a_vector_gate_leaves_idle(change: dict[str, Value]) -> None:
    problem = backward_problem(CASE.with_(K=128, V=128, dtype="bf16"))
    spec, device = KERNELS["bwd_dv_local"], target_named("h200")
    usual = {**defaults(PLAN.axes), **spec.default(problem)}
    assert spec.reasons(problem, usual, device) == []
    assert "because P is read" in spec.reasons(problem, {**usual, **change}, device)[0]
