"""Stage chunk_h_only alone, against the chunk form in fp64 on the inputs it was given."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gdn_ops.codegen.axis import Value, defaults
from gdn_ops.codegen.kernels.chunk_h_only import SPEC
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.render import render
from gdn_ops.codegen.targets import target_named
from gdn_ops.codegen.tensor import TENSORS
from gdn_ops.reference import recurrent_reference
from tests.close import assert_close
from tests.codegen.kernels.backward_case import backward_problem
from tests.codegen.kernels.split_case import SplitCase, state_of, torch_dtype, with_w_u
from tests.codegen.kernels.wy import inverse_of
from tests.codegen.reads import reads_inside
from tests.sampling import every_second
from tests.stage_runner import run_stage

CASE = SplitCase()
BARS = {"fp32": 1e-5, "fp16": 0.005, "bf16": 0.005}
INTERFACE = defaults(PLANS["fused"].axes)
AXES = [(axis.name, value) for axis in SPEC.axes if not axis.launch for value in axis.values]
pytestmark = pytest.mark.filterwarnings("error")  # an exp that overflows, even if masked later


def check(case: SplitCase, folder: Path, **axes: Value) -> torch.Tensor:
    """Run the stage and compare the states before all chunks; it writes nothing else."""
    problem = backward_problem(case)
    config = {**INTERFACE, **SPEC.default(problem), "BT": case.BT, **axes}
    x = case.inputs()
    for name in ("beta", "h0"):
        x[name] = x[name].float().double()
    x = with_w_u(case, x)
    x["gc"] = x["gc"].float().double()
    kept = torch_dtype(TENSORS["A"].element(problem, config).name)
    x["A"] = inverse_of(case, x, gate_free=bool(config["gate_free"])).to(kept).double()
    typed = {
        name: x[name].to(torch_dtype(TENSORS[name].element(problem, config).name))
        for name in SPEC.inputs(problem, config)
        if name in x
    }
    tensors = {**typed, **case.tables()}
    arguments = {**tensors, "T": case.T}
    with reads_inside(tensors.values()):
        out = run_stage(SPEC, problem, config, given=arguments, sizes=case.sizes, folder=folder)
    assert set(out) == {"h"}
    assert_close("h", state_of(case, x)["h"], out["h"], BARS[case.dtype])
    return out["h"]


@pytest.mark.parametrize(("name", "value"), AXES)
def test_every_axis_value(name: str, value: Value, tmp_path: Path) -> None:
    dtype = "fp16" if value == "native" else "fp32"
    check(CASE.with_(K=100, V=60, T=20, dtype=dtype), tmp_path, **{name: value})


@pytest.mark.triton
@pytest.mark.parametrize(
    ("gate_free", "loads", "layout"),
    every_second([False, True], ["pointer", "descriptor"], ["KV", "VK"]),
)
def test_16_bit_in_every_shape_of_the_code(
    gate_free: bool, loads: str, layout: str, tmp_path: Path
) -> None:
    case = CASE.with_(K=48, V=48, dtype="bf16", offsets=(0, 9, 9, 35), B=1, T=37)
    check(case, tmp_path, layout=layout, loads=loads, gate_free=gate_free, BK=32, BV=32)


@pytest.mark.parametrize("gate", ["none", "zero", "strong", "wild"])
def test_gates(gate: str, tmp_path: Path) -> None:
    check(CASE.with_(gate=gate), tmp_path)


@pytest.mark.parametrize(("K", "V"), [(60, 100), (128, 16), (256, 256)])
def test_head_dims(K: int, V: int, tmp_path: Path) -> None:
    check(CASE.with_(K=K, V=V, B=1, T=20), tmp_path, BV=128)


@pytest.mark.parametrize("T", [1, 16, 17])
def test_ragged_lengths(T: int, tmp_path: Path) -> None:
    check(CASE.with_(T=T, B=2), tmp_path)


@pytest.mark.parametrize("BT", [32, 64, 128])
def test_chunk_sizes(BT: int, tmp_path: Path) -> None:
    check(CASE.with_(BT=BT, T=BT + 7, B=1), tmp_path)


@pytest.mark.parametrize(("H", "HV"), [(1, 3), (2, 2)])
def test_value_heads_share_a_key_head(H: int, HV: int, tmp_path: Path) -> None:
    check(CASE.with_(H=H, HV=HV, B=1), tmp_path)


@pytest.mark.triton
@pytest.mark.parametrize("initial_state", [False, True])
def test_packed_sequences_of_which_some_are_empty(initial_state: bool, tmp_path: Path) -> None:
    check(CASE.with_(B=1, offsets=(0, 0, 21, 21, 37), initial_state=initial_state), tmp_path)


def test_store_fp32_is_written_in_full(tmp_path: Path) -> None:
    h = check(CASE.with_(dtype="bf16"), tmp_path, store="fp32", dot="tf32x3")
    assert h.dtype == torch.float32


def test_the_recurrence_token_by_token_gives_the_same(tmp_path: Path) -> None:
    case = CASE.with_(B=1, T=48)
    x = case.inputs()
    h = check(case, tmp_path)
    first = [x[name][:, : 2 * case.BT] for name in ("q", "k", "v", "g", "beta")]
    _, ht = recurrent_reference(*first, scale=1.0, initial_state=x["h0"])
    assert_close("h", ht[0], h[2], 1e-5)


def test_a_rendered_file_has_no_line_over_100_columns() -> None:
    case = CASE.with_(K=100, V=60, H=1, HV=4, dtype="bf16", offsets=(0, 9), B=1)
    for axes in ({}, {"layout": "VK"}, {"loads": "descriptor"}, {"gate_free": True}):
        problem = backward_problem(case)
        config = {**INTERFACE, **SPEC.default(problem), **axes}
        assert max(map(len, render(SPEC, problem, config).splitlines())) <= 100


def test_a_state_that_fills_the_registers_is_refused() -> None:
    problem = backward_problem(CASE.with_(K=256, V=256, dtype="bf16"))
    config = {**INTERFACE, **SPEC.default(problem)}
    h200 = target_named("h200")
    assert SPEC.reasons(problem, config, h200) == []
    (reason,) = SPEC.reasons(problem, {**config, "BV": 128}, h200)
    assert "256 x 128 needs 256 registers" in reason
