"""Stage bwd_gate alone, against the sum over the rest of each chunk and autograd in fp64."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import softplus

from gdn_ops.codegen.axis import defaults
from gdn_ops.codegen.kernels.bwd_gate import SPEC
from tests.close import assert_close
from tests.codegen.kernels.backward_case import dg_of
from tests.codegen.kernels.split_case import SplitCase
from tests.codegen.reads import reads_inside
from tests.stage_runner import run_stage

CASE = SplitCase(HV=3, T=40)
HEADS = SPEC.axes[0].values
FLOOR = -30.0
pytestmark = pytest.mark.filterwarnings("error")  # an exp that overflows, even if masked later


def inputs(case: SplitCase, *, raw: bool, dtype: torch.dtype) -> dict[str, Tensor]:
    """g (from -30 to 30 where it is raw), A_log, dt_bias and dgc, as the kernel gets them."""
    g = case.inputs()["g"]
    x = {
        "g": (g + 0.15) * 200 if raw else g,
        "A_log": torch.randn(case.HV),
        "dt_bias": torch.randn(case.HV),
    }
    dgc = torch.randn(g.shape)
    dgc[:, case.covered :] = float("nan")
    return {**{name: value.to(dtype) for name, value in x.items()}, "dgc": dgc}


def expected(case: SplitCase, x: dict[str, Tensor], *, raw: bool) -> dict[str, Tensor]:
    """dg of the log decay as it stands, floored, and of what it is made of, by autograd."""
    # a NaN at tokens of no sequence would reach the sums
    leaves = {
        name: x[name].double().nan_to_num().requires_grad_() for name in ("g", "A_log", "dt_bias")
    }
    g = leaves["g"]
    if raw:
        g = -leaves["A_log"].exp() * softplus(g + leaves["dt_bias"])
    through = g.clamp(min=FLOOR)
    dg = dg_of(case, x["dgc"].double())
    found = {"dg": torch.full_like(dg, float("nan"))}
    names = ("A_log", "dt_bias") if raw else ()
    parts = {f"d{name}_chunks": [] for name in names}
    for _, b, t, _, _ in case.chunks():
        wanted = [leaves["g"], *(leaves[name] for name in names)]
        d, *rest = torch.autograd.grad(through[b, t], wanted, dg[b, t], retain_graph=True)
        found["dg"][b, t] = d[b, t]
        for part, value in zip(parts.values(), rest, strict=True):
            part.append(value)
    return {**found, **{name: torch.stack(part) for name, part in parts.items()}}


def check(
    case: SplitCase,
    folder: Path,
    *,
    raw: bool = False,
    dt_bias: bool = True,
    BH: int = 4,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Tensor]:
    """Run the stage and compare all it must write; it writes nothing else."""
    x = inputs(case, raw=raw, dtype=dtype)
    if not dt_bias:
        x["dt_bias"] = torch.zeros_like(x["dt_bias"])
    problem = replace(case.problem, gate_in_kernel=raw, dt_bias=raw and dt_bias)
    config = {**defaults(SPEC.axes), "BT": case.BT, "BH": BH}
    tensors = {**x, **case.tables()}
    given = {**tensors, "T": case.T}
    with reads_inside(tensors.values()):
        out = run_stage(SPEC, problem, config, given=given, sizes=case.sizes, folder=folder)
    reference = expected(case, x, raw=raw)
    covered = slice(0, case.covered)
    assert_close("dg", reference["dg"][:, covered], out["dg"][:, covered], 2e-6)
    assert out["dg"][:, case.covered :].isnan().all()
    for name in set(out) - {"dg"}:
        assert_close(name, reference[name], out[name], 2e-6)
    assert all(value.dtype == torch.float32 for value in out.values())
    return out


@pytest.mark.parametrize("BH", HEADS)
@pytest.mark.parametrize("BT", [16, 32, 64, 128])
def test_every_axis_value(BT: int, BH: int, tmp_path: Path) -> None:
    check(CASE.with_(BT=BT, T=BT + 7, HV=9, B=1), tmp_path, BH=BH)


@pytest.mark.parametrize("BH", HEADS)
@pytest.mark.parametrize("dt_bias", [True, False])
def test_raw_gates_reach_what_they_are_made_of(dt_bias: bool, BH: int, tmp_path: Path) -> None:
    out = check(CASE, tmp_path, raw=True, dt_bias=dt_bias, BH=BH)
    assert ("ddt_bias_chunks" in out) == dt_bias


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("raw", [True, False])
def test_gates_of_16_bits(raw: bool, dtype: torch.dtype, tmp_path: Path) -> None:
    check(CASE, tmp_path, raw=raw, dtype=dtype)


@pytest.mark.triton
@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("offsets", [(0, 37), (0, 0, 21, 21, 37)])
def test_packed_sequences(offsets: tuple[int, ...], raw: bool, tmp_path: Path) -> None:
    check(CASE.with_(B=1, offsets=offsets), tmp_path, raw=raw)


@pytest.mark.parametrize("gate", ["zero", "strong", "wild"])
def test_gates(gate: str, tmp_path: Path) -> None:
    check(CASE.with_(gate=gate), tmp_path)


@pytest.mark.parametrize("T", [1, 15, 16, 17])
def test_ragged_lengths(T: int, tmp_path: Path) -> None:
    check(CASE.with_(T=T, B=2), tmp_path, raw=True)


@pytest.mark.parametrize("raw", [True, False])
def test_a_floored_decay_has_no_gradient(raw: bool, tmp_path: Path) -> None:
    g = torch.tensor([0.5, float("inf") if raw else float("-inf"), 0.25]).view(1, 3, 1)
    given = {
        "g": g if raw else g.clamp(max=-0.5),
        "dgc": torch.ones(1, 3, 1),
        "A_log": torch.zeros(1),
        "T": 3,
    }
    case = CASE.with_(B=1, T=3, HV=1)
    problem = replace(case.problem, gate_in_kernel=raw)
    config = {**defaults(SPEC.axes), "BT": 16, "BH": 1}
    out = run_stage(SPEC, problem, config, given=given, sizes=case.sizes, folder=tmp_path)
    first, floored, last = out["dg"].flatten().tolist()
    assert floored == 0.0
    if raw:
        slopes = torch.sigmoid(torch.tensor([0.5, 0.25]))
        assert [first, last] == pytest.approx([-3 * float(slopes[0]), -float(slopes[1])])
        dA_log = -3 * softplus(torch.tensor(0.5)) - softplus(torch.tensor(0.25))
        assert float(out["dA_log_chunks"]) == pytest.approx(float(dA_log))
    else:
        assert [first, last] == [3.0, 1.0]
