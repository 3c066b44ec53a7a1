"""Stage bwd_dv_local alone, against the chunk form in fp64 on the inputs it was given."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gdn_ops.codegen.axis import Value, defaults
from gdn_ops.codegen.kernels.bwd_dv_local import SPEC
from gdn_ops.codegen.render import render
from gdn_ops.codegen.targets import target_named
from tests.close import assert_close
from tests.codegen.kernels.backward_case import (
    SCALE,
    backward_inputs,
    backward_problem,
    dv_local_of,
    rounded,
    run_backward,
)
from tests.codegen.kernels.split_case import SplitCase

CASE = SplitCase(K=32, V=32)
BARS = {"fp32": 1e-5, "fp16": 0.005, "bf16": 0.005}
AXES = [(axis.name, value) for axis in SPEC.axes if not axis.launch for value in axis.values]
pytestmark = pytest.mark.filterwarnings("error")  # an exp that overflows, even if masked later


def check(case: SplitCase, folder: Path, **axes: Value) -> torch.Tensor:
    """Run the stage and compare the rows it must write; it writes no others."""
    x = rounded(case, backward_inputs(case), ())
    out = run_backward(SPEC, case, x, folder, **axes)["dv_local"]
    covered = slice(0, case.covered)
    expected = dv_local_of(case, x, SCALE)
    assert_close("dv_local", expected[:, covered], out[:, covered], BARS[case.dtype])
    assert out[:, case.covered :].isnan().all()
    return out


@pytest.mark.parametrize(("name", "value"), AXES)
def test_every_axis_value(name: str, value: Value, tmp_path: Path) -> None:
    dtype = "fp16" if value == "native" else "fp32"
    check(CASE.with_(K=100, V=60, T=20, dtype=dtype), tmp_path, **{name: value})


@pytest.mark.triton
@pytest.mark.parametrize("loads", ["pointer", "descriptor"])
@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_16_bit_in_every_shape_of_the_code(dtype: str, loads: str, tmp_path: Path) -> None:
    case = CASE.with_(K=48, V=80, dtype=dtype, offsets=(0, 9, 9, 35), B=1, T=37)
    check(case, tmp_path, loads=loads, BK=32, BV=32)


@pytest.mark.parametrize(("K", "V"), [(16, 16), (60, 100), (64, 128), (128, 16), (256, 256)])
def test_head_dims(K: int, V: int, tmp_path: Path) -> None:
    check(CASE.with_(K=K, V=V, B=1, T=20), tmp_path, BK=128, BV=128)


@pytest.mark.parametrize("gate", ["none", "zero", "strong", "wild"])
def test_gates(gate: str, tmp_path: Path) -> None:
    check(CASE.with_(gate=gate), tmp_path)


@pytest.mark.parametrize("T", [1, 15, 16, 17])
def test_ragged_lengths(T: int, tmp_path: Path) -> None:
    check(CASE.with_(T=T, B=2), tmp_path)


@pytest.mark.parametrize("BT", [32, 64, 128])
def test_chunk_sizes(BT: int, tmp_path: Path) -> None:
    check(CASE.with_(BT=BT, T=BT + 7, B=1), tmp_path)


@pytest.mark.parametrize(("H", "HV"), [(1, 3), (2, 4), (2, 2)])
def test_value_heads_share_a_query_head(H: int, HV: int, tmp_path: Path) -> None:
    check(CASE.with_(H=H, HV=HV), tmp_path)


def test_store_fp32_keeps_what_16_bits_would_round(tmp_path: Path) -> None:
    out = check(CASE.with_(dtype="bf16"), tmp_path, store="fp32", dot="tf32x3")
    assert out.dtype == torch.float32


@pytest.mark.triton
def test_packed_sequences_of_which_some_are_empty(tmp_path: Path) -> None:
    check(CASE.with_(B=1, T=40, offsets=(0, 0, 21, 21, 37)), tmp_path)


def test_a_rendered_file_has_no_line_over_100_columns() -> None:
    for axes in ({}, {"loads": "descriptor"}, {"store": "fp32", "dot": "tf32x3"}):
        for case in (CASE, CASE.with_(K=100, V=60, H=1, HV=4, dtype="bf16", offsets=(0, 9), B=1)):
            problem = backward_problem(case)
            config = {"BT": 64, "store": "io", **SPEC.default(problem), **axes}
            assert max(map(len, render(SPEC, problem, config).splitlines())) <= 100


def test_one_key_tile_leaves_nothing_to_pipeline() -> None:
    config = {**defaults(SPEC.axes), "BT": 64, "store": "io", "num_stages": 4}
    problem = backward_problem(CASE.with_(K=128, V=128, dtype="bf16"))
    assert "num_stages=4" in SPEC.reasons(problem, config, target_named("h200"))[0]
    assert SPEC.reasons(problem, {**config, "BK": 64}, target_named("h200")) == []


def test_scores_that_fill_the_registers_are_refused_but_in_tensor_memory() -> None:
    problem = backward_problem(CASE.with_(K=128, V=128, dtype="bf16"))
    config = {**defaults(SPEC.axes), "BT": 128, "BV": 64, "store": "io", "num_warps": 2}
    (reason,) = SPEC.reasons(problem, config, target_named("h200"))
    assert "128 x 128, needs 256 registers" in reason
    assert SPEC.reasons(problem, {**config, "num_warps": 4}, target_named("b200")) == []
