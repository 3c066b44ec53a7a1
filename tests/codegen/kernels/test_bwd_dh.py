"""Stage bwd_dh alone, against the chunk form in fp64 on the inputs it was given."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gdn_ops.codegen.axis import Value, defaults
from gdn_ops.codegen.kernels import bwd_dv_local
from gdn_ops.codegen.kernels.bwd_dh import SPEC
from gdn_ops.codegen.render import render
from gdn_ops.codegen.targets import target_named
from gdn_ops.reference import recurrent_reference
from tests.close import assert_close
from tests.codegen.kernels.backward_case import (
    SCALE,
    backward_inputs,
    backward_problem,
    dstate_of,
    dv_local_of,
    rounded,
    run_backward,
)
from tests.codegen.kernels.split_case import SplitCase
from tests.sampling import every_second

CASE = SplitCase()
BARS = {"fp32": 1e-5, "fp16": 0.005, "bf16": 0.005}
AXES = [(axis.name, value) for axis in SPEC.axes if not axis.launch for value in axis.values]
pytestmark = pytest.mark.filterwarnings("error")  # an exp that overflows, even if masked later


def given(case: SplitCase, store: str = "io") -> dict[str, torch.Tensor]:
    """The stage's inputs in fp64, already rounded to what the kernel gets."""
    x = backward_inputs(case)
    x["dv_local"] = dv_local_of(case, x, SCALE)
    return rounded(case, x, ("w", "dv_local"), store=store)


def check(case: SplitCase, folder: Path, **axes: Value) -> dict[str, torch.Tensor]:
    """Run the stage and compare everything it writes; it writes nothing else."""
    x = given(case, store=str(axes.get("store", "io")))
    out, expected = run_backward(SPEC, case, x, folder, **axes), dstate_of(case, x, SCALE)
    covered = slice(0, case.covered)
    bar = BARS[case.dtype]
    assert_close("dh", expected["dh"], out["dh"], bar)
    written = out["dv_new" if case.delta else "dv"]
    assert_close("dv_new", expected["dv_new"][:, covered], written[:, covered], bar)
    assert written[:, case.covered :].isnan().all()
    if case.initial_state:
        assert_close("dh0", expected["dh0"], out["dh0"], bar)
    return out


@pytest.mark.parametrize(("name", "value"), AXES)
def test_every_axis_value(name: str, value: Value, tmp_path: Path) -> None:
    dtype = "fp16" if value == "native" else "fp32"
    check(CASE.with_(K=100, V=60, T=20, dtype=dtype), tmp_path, **{name: value})


@pytest.mark.triton
@pytest.mark.parametrize(
    ("dtype", "loads", "layout"),
    every_second(["fp16", "bf16"], ["pointer", "descriptor"], ["KV", "VK"]),
)
def test_16_bit_in_every_shape_of_the_code(
    dtype: str, loads: str, layout: str, tmp_path: Path
) -> None:
    case = CASE.with_(K=32, V=48, dtype=dtype, offsets=(0, 9, 9, 35), B=1, T=37)
    check(case, tmp_path, layout=layout, loads=loads, BK=32, BV=32)


@pytest.mark.parametrize(("K", "V"), [(16, 16), (60, 100), (64, 128), (128, 16), (256, 256)])
def test_head_dims(K: int, V: int, tmp_path: Path) -> None:
    check(CASE.with_(K=K, V=V, B=1, T=20), tmp_path, BV=128)


@pytest.mark.parametrize("gate", ["none", "zero", "strong", "wild"])
def test_gates(gate: str, tmp_path: Path) -> None:
    check(CASE.with_(gate=gate), tmp_path)


@pytest.mark.parametrize(
    ("gate", "loads", "layout"),
    every_second(["none", "model", "wild"], ["pointer", "descriptor"], ["KV", "VK"]),
)
def test_without_the_delta(gate: str, loads: str, layout: str, tmp_path: Path) -> None:
    case = CASE.with_(delta=False, gate=gate, K=100, V=60, B=1)
    assert set(check(case, tmp_path, loads=loads, layout=layout)) == {"dv", "dh", "dh0"}
    packed = case.with_(K=32, V=48, dtype="bf16", offsets=(0, 9, 9, 35), T=37)
    check(packed, tmp_path, loads=loads, layout=layout, BK=32, BV=32)
    kept = check(packed, tmp_path, loads=loads, layout=layout, store="fp32", dot="ieee")
    assert (kept["dh"].dtype, kept["dv"].dtype) == (torch.float32, torch.bfloat16)


@pytest.mark.parametrize("T", [1, 15, 16, 17])
def test_ragged_lengths(T: int, tmp_path: Path) -> None:
    check(CASE.with_(T=T, B=2), tmp_path)


@pytest.mark.parametrize("BT", [32, 64, 128])
def test_chunk_sizes(BT: int, tmp_path: Path) -> None:
    check(CASE.with_(BT=BT, T=BT + 7, B=1), tmp_path)


@pytest.mark.parametrize(("H", "HV"), [(1, 3), (2, 4), (2, 2)])
def test_value_heads_share_a_query_head(H: int, HV: int, tmp_path: Path) -> None:
    check(CASE.with_(H=H, HV=HV, B=1), tmp_path)


@pytest.mark.parametrize("layout", ["KV", "VK"])
def test_store_fp32_keeps_what_16_bits_would_round(layout: str, tmp_path: Path) -> None:
    case = CASE.with_(dtype="bf16")
    out = check(case, tmp_path, store="fp32", dot="tf32x3", layout=layout)
    assert out["dh"].dtype == out["dv_new"].dtype == torch.float32
    exact = dstate_of(case, given(case, store="fp32"), SCALE)
    assert_close("dh", exact["dh"], out["dh"], 1e-5)


@pytest.mark.triton
@pytest.mark.parametrize("final_state", [False, True])
def test_packed_sequences_of_which_some_are_empty(final_state: bool, tmp_path: Path) -> None:
    case = CASE.with_(B=1, T=40, offsets=(0, 0, 21, 21, 37), final_state=final_state)
    out = check(case, tmp_path)
    after = given(case)["dht"] if final_state else torch.zeros(4, 2, 16, 16)
    assert torch.equal(out["dh0"][0], after[0].float())
    assert torch.equal(out["dh0"][2], after[2].float())


@pytest.mark.parametrize("layout", ["KV", "VK"])
def test_no_states_in_or_out(layout: str, tmp_path: Path) -> None:
    out = check(CASE.with_(initial_state=False, final_state=False), tmp_path, layout=layout)
    assert set(out) == {"dv_new", "dh"}


def test_a_tail_forgotten_by_the_gate_costs_nothing(tmp_path: Path) -> None:
    case = CASE.with_(gate="wild", B=1)
    out = check(case, tmp_path)
    assert out["dh0"].isfinite().all()
    assert out["dh"].isfinite().all()


def test_the_gradient_of_the_recurrence_ends_in_the_same_state(tmp_path: Path) -> None:
    case = CASE.with_(B=1, offsets=(0, 23, 40))
    x = backward_inputs(case)
    x |= {"dv_local": run_backward(bwd_dv_local.SPEC, case, x, tmp_path)["dv_local"].double()}
    h0 = x["h0"].clone().requires_grad_()
    o, ht = recurrent_reference(
        *(x[name] for name in ("q", "k", "v", "g", "beta")),
        scale=SCALE,
        initial_state=h0,
        cu_seqlens=case.tables()["cu_seqlens"],
    )
    (dh0,) = torch.autograd.grad((o * x["do"]).sum() + (ht * x["dht"]).sum(), h0)
    assert_close("dh0", dh0, run_backward(SPEC, case, x, tmp_path)["dh0"], 1e-5)


def test_a_rendered_file_has_no_line_over_100_columns() -> None:
    cases = (CASE, CASE.with_(K=100, V=60, H=1, HV=4, dtype="bf16", offsets=(0, 9), B=1))
    for axes in ({}, {"loads": "descriptor"}, {"layout": "VK"}, {"store": "fp32", "dot": "ieee"}):
        for case in cases:
            problem = backward_problem(case)
            config = {"BT": 64, "store": "io", **SPEC.default(problem), **axes}
            assert max(map(len, render(SPEC, problem, config).splitlines())) <= 100


def test_a_state_that_fills_the_registers_is_refused() -> None:
    problem = backward_problem(CASE.with_(K=128, V=128, dtype="bf16"))
    config = {**defaults(SPEC.axes), "BT": 64, "store": "io"}
    h200 = target_named("h200")
    assert SPEC.reasons(problem, config, h200) == []
    (reason,) = SPEC.reasons(problem, {**config, "BV": 128, "num_warps": 2}, h200)
    assert "128 x 128 needs 256 registers" in reason


def test_a_tile_wider_than_the_head_is_refused_where_it_comes_to_the_same() -> None:
    narrow = backward_problem(CASE.with_(K=16, V=16, dtype="bf16"))
    config = {**defaults(SPEC.axes), "BT": 64, "store": "io"}
    h200 = target_named("h200")
    assert SPEC.reasons(narrow, config, h200) == []
    assert "BK=32 is the same as BK=64" in SPEC.reasons(narrow, {**config, "BK": 32}, h200)[0]
    assert "BV=128 is the same as BV=32" in SPEC.reasons(narrow, {**config, "BV": 128}, h200)[0]
