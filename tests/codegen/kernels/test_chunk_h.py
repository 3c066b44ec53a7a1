"""Stage chunk_h alone, against the chunk form in fp64 on the inputs it was given."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gdn_ops.codegen.axis import Value, defaults
from gdn_ops.codegen.kernels.chunk_h import SPEC
from gdn_ops.codegen.targets import target_named
from gdn_ops.codegen.tensor import TENSORS
from gdn_ops.reference import recurrent_reference
from tests.close import assert_close
from tests.codegen.kernels.split_case import SplitCase, state_of, torch_dtype, with_w_u
from tests.codegen.reads import reads_inside
from tests.sampling import every_second
from tests.stage_runner import run_stage

CASE = SplitCase()
pytestmark = pytest.mark.filterwarnings("error")  # an exp that overflows, even if masked later
BARS = {"fp32": 1e-5, "fp16": 0.005, "bf16": 0.005}
AXES = [(axis.name, value) for axis in SPEC.axes if not axis.launch for value in axis.values]


def given(case: SplitCase, store: str = "io", seed: int = 0) -> dict[str, torch.Tensor]:
    """The stage's inputs in fp64, already rounded to what the kernel gets."""
    x = with_w_u(case, case.inputs(seed))
    kept = torch_dtype("fp32" if store == "fp32" else case.dtype)
    for name in ("w", "u"):
        x[name] = x[name].to(kept).double()
    for name in ("gc", "h0"):
        x[name] = x[name].float().double()
    return x


def run(
    case: SplitCase, x: dict[str, torch.Tensor], folder: Path, **axes: Value
) -> dict[str, torch.Tensor]:
    dot = "ieee" if case.dtype == "fp32" else "native"
    config = {**defaults(SPEC.axes), "BT": case.BT, "store": "io", "dot": dot, **axes}
    typed = {
        name: value.to(torch_dtype(TENSORS[name].element(case.problem, config).name))
        for name, value in x.items()
    }
    tensors = {**typed, **case.tables()}
    arguments = {**tensors, "T": case.T}
    with reads_inside(tensors.values()):
        out = run_stage(
            SPEC, case.problem, config, given=arguments, sizes=case.sizes, folder=folder
        )
    return out


def check(case: SplitCase, folder: Path, **axes: Value) -> dict[str, torch.Tensor]:
    """Run the stage and compare everything it writes; it writes nothing else."""
    x = given(case, store=str(axes.get("store", "io")))
    out, expected = run(case, x, folder, **axes), state_of(case, x)
    covered = slice(0, case.covered)
    bar = BARS[case.dtype]
    assert_close("h", expected["h"], out["h"], bar)
    if case.delta:
        assert_close("v_new", expected["v_new"][:, covered], out["v_new"][:, covered], bar)
        assert out["v_new"][:, case.covered :].isnan().all()
    else:
        assert "v_new" not in out
    if case.final_state:
        assert_close("ht", expected["ht"], out["ht"], bar)
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
    check(case, tmp_path, loads=loads, layout=layout)
    packed = case.with_(K=32, V=48, dtype="bf16", offsets=(0, 9, 9, 35), T=37)
    check(packed, tmp_path, loads=loads, layout=layout, BK=32, BV=32)


@pytest.mark.parametrize("T", [1, 15, 16, 17])
def test_ragged_lengths(T: int, tmp_path: Path) -> None:
    check(CASE.with_(T=T, B=2), tmp_path)


@pytest.mark.parametrize("BT", [32, 64, 128])
def test_chunk_sizes(BT: int, tmp_path: Path) -> None:
    check(CASE.with_(BT=BT, T=BT + 7, B=1), tmp_path)


@pytest.mark.parametrize(("H", "HV"), [(1, 3), (2, 4), (2, 2)])
def test_value_heads_share_a_key_head(H: int, HV: int, tmp_path: Path) -> None:
    check(CASE.with_(H=H, HV=HV, B=1), tmp_path)


def test_store_fp32_keeps_what_16_bits_would_round(tmp_path: Path) -> None:
    out = check(CASE.with_(dtype="bf16"), tmp_path, store="fp32", dot="tf32x3")
    assert out["h"].dtype == out["v_new"].dtype == torch.float32


@pytest.mark.triton
@pytest.mark.parametrize("initial_state", [False, True])
def test_packed_sequences_of_which_some_are_empty(initial_state: bool, tmp_path: Path) -> None:
    case = CASE.with_(B=1, T=40, offsets=(0, 0, 21, 21, 37), initial_state=initial_state)
    out = check(case, tmp_path)
    before = given(case)["h0"] if initial_state else torch.zeros(4, 2, 16, 16)
    assert torch.equal(out["ht"][0], before[0].float())
    assert torch.equal(out["ht"][2], before[2].float())


def test_no_states_in_or_out(tmp_path: Path) -> None:
    out = check(CASE.with_(initial_state=False, final_state=False), tmp_path)
    assert set(out) == {"h", "v_new"}


def test_the_state_goes_on_in_a_second_call(tmp_path: Path) -> None:
    whole = CASE.with_(T=64, B=1)
    x = given(whole)
    halves = [{n: v[:, s] for n, v in x.items() if n != "h0"} for s in (slice(32), slice(32, 64))]
    half = whole.with_(T=32)
    first = run(half, {**halves[0], "h0": x["h0"]}, tmp_path)
    second = run(half, {**halves[1], "h0": first["ht"].double()}, tmp_path)
    together = run(whole, x, tmp_path)
    assert_close("ht", together["ht"], second["ht"], 1e-6)
    assert_close("h", together["h"], torch.cat([first["h"], second["h"]]), 1e-6)


def test_the_recurrence_token_by_token_ends_in_the_same_state(tmp_path: Path) -> None:
    case = CASE.with_(B=1, offsets=(0, 23, 40))
    x = given(case)
    _, ht = recurrent_reference(
        *(x[name] for name in ("q", "k", "v", "g", "beta")),
        initial_state=x["h0"],
        cu_seqlens=case.tables()["cu_seqlens"],
    )
    assert_close("ht", ht, run(case, x, tmp_path)["ht"], 1e-5)


def test_a_state_that_fills_the_registers_is_refused() -> None:
    problem = CASE.with_(K=128, V=128, dtype="bf16").problem
    config = {**defaults(SPEC.axes), "BT": 64, "store": "io"}
    h200 = target_named("h200")
    assert SPEC.reasons(problem, config, h200) == []
    (reason,) = SPEC.reasons(problem, {**config, "BV": 128, "num_warps": 2}, h200)
    assert "128 x 128 needs 256 registers" in reason


def test_a_tile_wider_than_the_head_is_refused_where_it_comes_to_the_same() -> None:
    narrow = CASE.with_(K=16, V=16, dtype="bf16").problem
    config = {**defaults(SPEC.axes), "BT": 64, "store": "io"}
    h200 = target_named("h200")
    assert SPEC.reasons(narrow, config, h200) == []
    assert "BK=32 is the same as BK=64" in SPEC.reasons(narrow, {**config, "BK": 32}, h200)[0]
    assert "BV=128 is the same as BV=32" in SPEC.reasons(narrow, {**config, "BV": 128}, h200)[0]
