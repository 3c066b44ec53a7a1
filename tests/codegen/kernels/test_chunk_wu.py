"""Stage chunk_wu, against the products in fp64 of the A it was given; and behind stage solve."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
import torch

from gdn_ops.codegen.axis import Value
from gdn_ops.codegen.kernels import solve
from gdn_ops.codegen.kernels.chunk_wu import SPEC
from gdn_ops.codegen.targets import target_named
from tests.close import assert_close
from tests.codegen.kernels.split_case import SplitCase, torch_dtype, with_w_u
from tests.codegen.kernels.wy import BARS, INTERFACE, decay, hard_keys, inverse_of, run, with_gc
from tests.sampling import every_second

CASE = SplitCase(B=1, K=32, V=32)
AXES = [(axis.name, value) for axis in SPEC.axes if not axis.launch for value in axis.values]
pytestmark = pytest.mark.filterwarnings("error")  # an exp that overflows, even if masked later


def given(case: SplitCase, *, gate_free: bool, store: str) -> dict[str, torch.Tensor]:
    """The stage's inputs in fp64, A rounded to what the kernel gets."""
    x = with_gc(case, case.inputs())
    kept = torch_dtype("fp32" if store == "fp32" else case.dtype)
    return {**x, "A": inverse_of(case, x, gate_free=gate_free).to(kept).double()}


def expected_w_u(
    case: SplitCase, x: dict[str, torch.Tensor], *, gate_free: bool
) -> dict[str, torch.Tensor]:
    w = x["v"].new_full((*x["v"].shape[:3], case.K), float("nan"))
    u = torch.full_like(x["v"], float("nan"))
    for _, b, t, _, _ in case.chunks():
        gc, beta = x["gc"][b, t], x["beta"][b, t][..., None]
        k = x["k"][b, t].repeat_interleave(case.HV // case.H, dim=1)
        A = x["A"][b, t, :, : len(gc)] * (decay(gc) if gate_free else 1.0)
        w[b, t] = torch.einsum("ihj,jhk->ihk", A, beta * gc.exp()[..., None] * k)
        u[b, t] = torch.einsum("ihj,jhv->ihv", A, beta * x["v"][b, t])
    return {"w": w, "u": u}


def check(
    case: SplitCase, folder: Path, *, gate_free: bool = True, store: str = "io", **axes: Value
) -> dict[str, torch.Tensor]:
    """Run the stage and compare the rows it must write; it writes no others."""
    x = given(case, gate_free=gate_free, store=store)
    out = run(SPEC, case, x, folder, gate_free=gate_free, store=store, **axes)
    covered = slice(0, case.covered)
    for name, reference in expected_w_u(case, x, gate_free=gate_free).items():
        assert_close(name, reference[:, covered], out[name][:, covered], BARS[case.dtype])
        assert out[name][:, case.covered :].isnan().all()
    return out


@pytest.mark.parametrize(("name", "value"), AXES)
def test_every_axis_value(name: str, value: Value, tmp_path: Path) -> None:
    dtype = "fp16" if value == "native" else "fp32"
    check(CASE.with_(K=100, V=60, T=20, dtype=dtype), tmp_path, **{name: value})


@pytest.mark.triton
@pytest.mark.parametrize(
    ("dtype", "loads", "gate_free"),
    every_second(["fp16", "bf16"], ["pointer", "descriptor"], [True, False]),
)
def test_16_bit_in_every_shape_of_the_code(
    dtype: str, loads: str, gate_free: bool, tmp_path: Path
) -> None:
    case = CASE.with_(K=48, V=80, dtype=dtype, offsets=(0, 9, 9, 35), T=37)
    check(case, tmp_path, loads=loads, gate_free=gate_free, BK=32, BV=32)


@pytest.mark.parametrize(
    ("gate", "gate_free"), [("none", True), *product(["zero", "strong", "wild"], [True, False])]
)
def test_gates(gate: str, gate_free: bool, tmp_path: Path) -> None:
    check(CASE.with_(gate=gate), tmp_path, gate_free=gate_free)


@pytest.mark.parametrize(("K", "V"), [(16, 16), (60, 100), (64, 128), (128, 16), (256, 256)])
def test_head_dims(K: int, V: int, tmp_path: Path) -> None:
    check(CASE.with_(K=K, V=V, T=20), tmp_path, BK=128, BV=128)


@pytest.mark.parametrize("T", [1, 15, 16, 17])
def test_ragged_lengths(T: int, tmp_path: Path) -> None:
    check(CASE.with_(T=T, B=2), tmp_path)


@pytest.mark.parametrize("BT", [32, 64, 128])
def test_chunk_sizes(BT: int, tmp_path: Path) -> None:
    check(CASE.with_(BT=BT, T=BT + 7), tmp_path)


@pytest.mark.parametrize(("H", "HV"), [(1, 3), (2, 4), (2, 2)])
def test_value_heads_share_a_key_head(H: int, HV: int, tmp_path: Path) -> None:
    check(CASE.with_(H=H, HV=HV, B=2), tmp_path)


@pytest.mark.triton
def test_packed_sequences_of_which_some_are_empty(tmp_path: Path) -> None:
    check(CASE.with_(T=40, offsets=(0, 0, 21, 21, 37)), tmp_path)


def test_store_fp32_is_read_and_written_in_full(tmp_path: Path) -> None:
    out = check(CASE.with_(dtype="bf16"), tmp_path, store="fp32", dot="tf32x3")
    x = given(CASE.with_(dtype="bf16"), gate_free=True, store="fp32")
    reference = expected_w_u(CASE, x, gate_free=True)
    assert out["w"].dtype == out["u"].dtype == torch.float32
    assert_close("w", reference["w"], out["w"], 1e-5)


@pytest.mark.parametrize("gate_free", [True, False])
@pytest.mark.parametrize("hard", [False, True])
def test_solve_and_wu_solve_the_chunk(hard: bool, gate_free: bool, tmp_path: Path) -> None:
    case = CASE.with_(BT=64, T=80, HV=1, V=16)
    x = with_w_u(case, hard_keys(case) if hard else case.inputs())
    A = run(solve.SPEC, case, x, tmp_path, gate_free=gate_free)["A"]
    out = run(SPEC, case, {**x, "A": A}, tmp_path, gate_free=gate_free)
    assert_close("w", x["w"], out["w"], 2e-5)
    assert_close("u", x["u"], out["u"], 2e-5)


@pytest.mark.parametrize(
    ("axes", "reason"),
    [
        ({"BT": 128, "num_warps": 2}, "num_warps=2 and h200 has 255; use more warps"),
        ({"BT": 128, "BV": 128, "num_warps": 4}, "smaller tiles"),
        ({"BK": 128, "BV": 128, "num_stages": 1}, "no loop to pipeline"),
    ],
)
def test_refusals_name_what_to_change(axes: dict[str, Value], reason: str) -> None:
    problem = CASE.with_(K=128, V=128, dtype="bf16").problem
    config = {**INTERFACE, **SPEC.default(problem), **axes}
    assert reason in " ".join(SPEC.reasons(problem, config, target_named("h200")))


@pytest.mark.parametrize("target", ["a100", "h200", "b200", "mi300x"])
@pytest.mark.parametrize("BT", [16, 32, 64, 128])
@pytest.mark.parametrize(("K", "V"), [(16, 256), (60, 100), (128, 128), (256, 16)])
def test_the_default_is_never_refused(K: int, V: int, BT: int, target: str) -> None:
    for dtype in ("bf16", "fp32"):
        problem = CASE.with_(K=K, V=V, dtype=dtype).problem
        config = {**INTERFACE, **SPEC.default(problem), "BT": BT}
        assert SPEC.reasons(problem, config, target_named(target)) == []
