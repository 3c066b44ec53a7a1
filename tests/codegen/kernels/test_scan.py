"""Stage scan alone, against the chunk form in fp64 on the inputs it was given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gdn_ops.codegen.axis import Value, defaults
from gdn_ops.codegen.kernels.scan import SPEC
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.targets import target_named
from gdn_ops.codegen.variant import Variant
from gdn_ops.reference import recurrent_reference
from tests.close import assert_close
from tests.codegen.kernels.scan_case import SCALE, given, run_walk
from tests.codegen.kernels.split_case import SplitCase
from tests.sampling import every_second

CASE = SplitCase()
pytestmark = pytest.mark.filterwarnings("error")  # an exp that overflows, even if masked later
BARS = {"fp32": 1e-5, "fp16": 0.005, "bf16": 0.005}
INTERFACE = defaults(PLANS["fused"].axes)
AXES = [(axis.name, value) for axis in SPEC.axes if not axis.launch for value in axis.values]


def run(
    case: SplitCase, x: dict[str, torch.Tensor], folder: Path, **axes: Value
) -> dict[str, torch.Tensor]:
    dot = "ieee" if case.dtype == "fp32" else "native"
    config = {**INTERFACE, **defaults(SPEC.axes), "BT": case.BT, "dot": dot, **axes}
    return run_walk(SPEC, case, x, config, folder)


def check(case: SplitCase, folder: Path, **axes: Value) -> dict[str, torch.Tensor]:
    """Run the stage and compare everything it writes; it writes nothing else."""
    x = given(case, str(axes.get("store", "io")), gate_free=bool(axes.get("gate_free")))
    out = run(case, x, folder, **axes)
    covered, bar = slice(0, case.covered), BARS[case.dtype]
    assert_close("o", x["o"][:, covered], out["o"][:, covered], bar)
    assert out["o"][:, case.covered :].isnan().all()
    if case.final_state:
        assert_close("ht", x["ht"], out["ht"], bar)
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
    case = CASE.with_(K=48, V=48, dtype=dtype, offsets=(0, 9, 9, 35), B=1, T=37)
    check(case, tmp_path, layout=layout, loads=loads, BK=32, BV=32)


@pytest.mark.parametrize(
    ("dtype", "loads", "gate"),
    every_second(["fp32", "fp16"], ["pointer", "descriptor"], ["none", "model", "strong", "wild"]),
)
def test_an_inverse_without_the_gate(dtype: str, loads: str, gate: str, tmp_path: Path) -> None:
    case = CASE.with_(gate=gate, dtype=dtype, offsets=(0, 9, 9, 35), B=1, T=37)
    layout = "VK" if dtype == "fp16" else "KV"
    check(case, tmp_path, gate_free=True, loads=loads, layout=layout)


@pytest.mark.parametrize(
    ("K", "V"), [(16, 16), (60, 100), (100, 60), (64, 128), (128, 16), (256, 256)]
)
def test_head_dims(K: int, V: int, tmp_path: Path) -> None:
    check(CASE.with_(K=K, V=V, B=1, T=20), tmp_path, BV=128)


@pytest.mark.parametrize("layout", ["KV", "VK"])
@pytest.mark.parametrize("gate", ["none", "zero", "strong", "wild"])
def test_gates(gate: str, layout: str, tmp_path: Path) -> None:
    check(CASE.with_(gate=gate), tmp_path, layout=layout)


@pytest.mark.parametrize("T", [1, 15, 16, 17])
def test_ragged_lengths(T: int, tmp_path: Path) -> None:
    check(CASE.with_(T=T, B=2), tmp_path)


@pytest.mark.parametrize("BT", [32, 64, 128])
def test_chunk_sizes(BT: int, tmp_path: Path) -> None:
    check(CASE.with_(BT=BT, T=BT + 7, B=1), tmp_path)


@pytest.mark.parametrize(("H", "HV"), [(1, 3), (2, 4), (2, 2)])
def test_value_heads_share_a_key_head(H: int, HV: int, tmp_path: Path) -> None:
    check(CASE.with_(H=H, HV=HV, B=1), tmp_path)


def test_store_fp32_is_read_in_full(tmp_path: Path) -> None:
    check(CASE.with_(dtype="bf16"), tmp_path, store="fp32", dot="tf32x3")


@pytest.mark.triton
@pytest.mark.parametrize("initial_state", [False, True])
def test_packed_sequences_of_which_some_are_empty(initial_state: bool, tmp_path: Path) -> None:
    case = CASE.with_(B=1, T=40, offsets=(0, 0, 21, 21, 37), initial_state=initial_state)
    out = check(case, tmp_path)
    before = given(case)["h0"] if initial_state else torch.zeros(4, 2, 16, 16)
    assert torch.equal(out["ht"][0], before[0].float())
    assert torch.equal(out["ht"][2], before[2].float())


@pytest.mark.parametrize("loads", ["pointer", "descriptor"])
def test_no_states_in_or_out(loads: str, tmp_path: Path) -> None:
    case = CASE.with_(initial_state=False, final_state=False)
    assert set(check(case, tmp_path, loads=loads)) == {"o"}


def test_the_state_goes_on_in_a_second_call(tmp_path: Path) -> None:
    whole = CASE.with_(T=64, B=1)
    x = given(whole)
    rows = ("q", "k", "v", "beta", "A", "gc")
    halves = [{n: x[n][:, s] for n in rows} for s in (slice(32), slice(32, 64))]
    half = whole.with_(T=32)
    first = run(half, {**halves[0], "h0": x["h0"]}, tmp_path)
    second = run(half, {**halves[1], "h0": first["ht"].double()}, tmp_path)
    together = run(whole, x, tmp_path)
    assert_close("ht", together["ht"], second["ht"], 1e-6)
    assert_close("o", together["o"], torch.cat([first["o"], second["o"]], dim=1), 1e-6)


def test_the_recurrence_token_by_token_gives_the_same(tmp_path: Path) -> None:
    case = CASE.with_(B=1, offsets=(0, 23, 40))
    x = given(case)
    o, ht = recurrent_reference(
        *(x[name] for name in ("q", "k", "v", "g", "beta")),
        scale=SCALE,
        initial_state=x["h0"],
        cu_seqlens=case.tables()["cu_seqlens"],
    )
    out = run(case, x, tmp_path)
    assert_close("o", o, out["o"], 1e-5)
    assert_close("ht", ht, out["ht"], 1e-5)


def test_sums_that_fill_the_registers_are_refused_but_in_tensor_memory() -> None:
    problem = CASE.with_(K=128, V=128, dtype="bf16").problem
    config = {**INTERFACE, **defaults(SPEC.axes)}
    h200, b200 = target_named("h200"), target_named("b200")
    assert SPEC.reasons(problem, config, h200) == []
    wide = {**config, "BV": 128}
    (reason,) = SPEC.reasons(problem, wide, h200)
    assert "a state of 128 x 128 with the scores of a chunk, 64 x 64" in reason
    assert SPEC.reasons(problem, wide, b200) == []


def test_a_tile_wider_than_the_head_is_refused_where_it_comes_to_the_same() -> None:
    narrow = CASE.with_(K=16, V=16, dtype="bf16").problem
    config = {**INTERFACE, **defaults(SPEC.axes)}
    h200 = target_named("h200")
    assert SPEC.reasons(narrow, config, h200) == []
    assert "BK=32 is the same as BK=64" in SPEC.reasons(narrow, {**config, "BK": 32}, h200)[0]
    assert "BV=128 is the same as BV=32" in SPEC.reasons(narrow, {**config, "BV": 128}, h200)[0]


@pytest.mark.parametrize(
    ("op", "reason"),
    [
        ("decode", "plan fused works on chunks and decode has one token per sequence"),
        ("pool", "plan fused works on chunks and op pool has a few tokens per sequence"),
    ],
)
def test_ops_the_plan_refuses(op: str, reason: str) -> None:
    problem = replace(CASE.with_(dtype="bf16").problem, op=op)
    variant = Variant.default("fused", problem)
    assert variant.reasons(problem, target_named("h200")) == [reason]


@pytest.mark.parametrize("gate_free", [True, False])
def test_the_gate_free_axis_has_one_value_without_a_gate(gate_free: bool) -> None:
    problem = CASE.with_(gate="none", dtype="bf16").problem
    reasons = Variant.of("fused", problem, {"gate_free": gate_free}).reasons(
        problem, target_named("h200")
    )
    text = ["gate_free=True is the same as gate_free=False without a gate"]
    assert reasons == (text if gate_free else [])
