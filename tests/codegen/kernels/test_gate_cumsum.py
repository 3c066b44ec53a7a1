"""Stage gate_cumsum alone, against PyTorch's softplus and cumsum in fp64."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.functional import softplus

from gdn_ops.codegen.axis import defaults
from gdn_ops.codegen.kernels.gate_cumsum import SPEC
from gdn_ops.codegen.tensor import Sizes
from tests.close import assert_close
from tests.codegen.kernels.split_case import SplitCase
from tests.codegen.reads import reads_inside
from tests.stage_runner import run_stage

CASE = SplitCase(HV=3, T=40)
HEADS = SPEC.axes[0].values
pytestmark = pytest.mark.filterwarnings("error")  # an exp that overflows, even if masked later


def inputs(case: SplitCase, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """g, or the raw gate from -30 to 30, with A_log and dt_bias, as the kernel gets them."""
    g = case.inputs()["g"]
    raw = {"g": (g + 0.15) * 200, "A_log": torch.randn(case.HV), "dt_bias": torch.randn(case.HV)}
    return {"cumulated": g.to(dtype), **{name: x.to(dtype) for name, x in raw.items()}}


def check(
    case: SplitCase,
    folder: Path,
    *,
    raw: bool = False,
    dt_bias: bool = False,
    BH: int = 4,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Run the stage and compare the rows it must write; it writes no others."""
    x = inputs(case, dtype)
    tensors = {**x, "g": x["g"] if raw else x["cumulated"], **case.tables()}
    problem = replace(case.problem, gate_in_kernel=raw, dt_bias=dt_bias)
    config = {**defaults(SPEC.axes), "BT": case.BT, "BH": BH}
    given = {**tensors, "T": case.T}
    with reads_inside(tensors.values()):
        gc = run_stage(SPEC, problem, config, given=given, sizes=case.sizes, folder=folder)["gc"]

    g = tensors["g"].double()
    if raw:
        bias = x["dt_bias"].double() if dt_bias else 0.0
        g = -x["A_log"].double().exp() * softplus(g + bias)
    expected = torch.full_like(g, float("nan"))
    for _, b, t, _, _ in case.chunks():
        expected[b, t] = g[b, t].clamp(min=FLOOR).cumsum(0)
    covered = slice(0, case.covered)
    assert gc.dtype == torch.float32
    assert_close("gc", expected[:, covered], gc[:, covered], 1e-6)
    assert gc[:, case.covered :].isnan().all()


FLOOR = -30.0


@pytest.mark.parametrize("BH", HEADS)
@pytest.mark.parametrize("BT", [16, 32, 64, 128])
def test_every_axis_value(BT: int, BH: int, tmp_path: Path) -> None:
    check(CASE.with_(BT=BT, T=BT + 7, HV=9, B=1), tmp_path, BH=BH)


@pytest.mark.parametrize("BH", HEADS)
@pytest.mark.parametrize("dt_bias", [True, False])
def test_raw_gates_are_activated(dt_bias: bool, BH: int, tmp_path: Path) -> None:
    check(CASE, tmp_path, raw=True, dt_bias=dt_bias, BH=BH)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("raw", [True, False])
def test_gates_of_16_bits_are_summed_in_fp32(raw: bool, dtype: torch.dtype, tmp_path: Path) -> None:
    check(CASE, tmp_path, raw=raw, dt_bias=raw, dtype=dtype)


@pytest.mark.triton
@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("offsets", [(0, 37), (0, 0, 21, 21, 37)])
def test_packed_sequences(offsets: tuple[int, ...], raw: bool, tmp_path: Path) -> None:
    check(CASE.with_(B=1, offsets=offsets), tmp_path, raw=raw, dt_bias=raw)


@pytest.mark.parametrize("gate", ["zero", "strong", "wild"])
def test_gates(gate: str, tmp_path: Path) -> None:
    check(CASE.with_(gate=gate), tmp_path)


@pytest.mark.parametrize("T", [1, 15, 16, 17])
def test_ragged_lengths(T: int, tmp_path: Path) -> None:
    check(CASE.with_(T=T, B=2), tmp_path, raw=True)


def test_an_infinite_decay_sums_to_no_nan(tmp_path: Path) -> None:
    g = torch.full((1, 4, 1), -0.5)
    g[0, 1] = float("-inf")
    problem = replace(CASE.problem, H=1, HV=1, varlen=False)
    config = {**defaults(SPEC.axes), "BT": 16, "BH": 1}
    given = {"g": g, "T": 4}
    sizes = Sizes(B=1, T=4, N=1, NT=1)
    gc = run_stage(SPEC, problem, config, given=given, sizes=sizes, folder=tmp_path)["gc"]
    assert gc.flatten().tolist() == [-0.5, -30.5, -31.0, -31.5]
