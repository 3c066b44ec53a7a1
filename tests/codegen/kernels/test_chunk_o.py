"""Stage chunk_o alone, against the chunk form in fp64 on the inputs it was given."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gdn_ops.codegen.axis import Value, defaults
from gdn_ops.codegen.kernels.chunk_o import SPEC
from gdn_ops.codegen.targets import target_named
from gdn_ops.codegen.tensor import TENSORS
from gdn_ops.reference import recurrent_reference
from tests.close import assert_close
from tests.codegen.kernels.split_case import (
    SplitCase,
    output_of,
    state_of,
    torch_dtype,
    with_w_u,
)
from tests.codegen.reads import reads_inside
from tests.stage_runner import run_stage

CASE = SplitCase(K=32, V=32)
BARS = {"fp32": 1e-5, "fp16": 0.005, "bf16": 0.005}
AXES = [(axis.name, value) for axis in SPEC.axes if not axis.launch for value in axis.values]
SCALE = 0.37
pytestmark = pytest.mark.filterwarnings("error")  # an exp that overflows, even if masked later


def given(case: SplitCase, store: str = "io") -> dict[str, torch.Tensor]:
    """The stage's inputs in fp64, already rounded to what the kernel gets."""
    x = with_w_u(case, case.inputs())
    x |= state_of(case, x)
    kept = torch_dtype("fp32" if store == "fp32" else case.dtype)
    for name in ("h", *(["v_new"] if case.delta else [])):
        x[name] = x[name].to(kept).double()
    x["gc"] = x["gc"].float().double()
    return x


def run(case: SplitCase, x: dict[str, torch.Tensor], folder: Path, **axes: Value) -> torch.Tensor:
    dot = "ieee" if case.dtype == "fp32" else "native"
    config = {**defaults(SPEC.axes), "BT": case.BT, "store": "io", "dot": dot, **axes}
    typed = {
        name: value.to(torch_dtype(TENSORS[name].element(case.problem, config).name))
        for name, value in x.items()
    }
    tensors = {**typed, **case.tables()}
    arguments = {**tensors, "T": case.T, "scale": SCALE}
    with reads_inside(tensors.values()):
        out = run_stage(
            SPEC, case.problem, config, given=arguments, sizes=case.sizes, folder=folder
        )
    return out["o"]


def check(case: SplitCase, folder: Path, **axes: Value) -> None:
    """Run the stage and compare what it writes; it writes nothing else."""
    x = given(case, store=str(axes.get("store", "io")))
    o, expected = run(case, x, folder, **axes), output_of(case, x, SCALE)
    covered = slice(0, case.covered)
    assert_close("o", expected[:, covered], o[:, covered], BARS[case.dtype])
    assert o[:, case.covered :].isnan().all()


@pytest.mark.parametrize("loads", ["pointer", "descriptor"])
@pytest.mark.parametrize("gate", ["none", "model", "wild"])
def test_without_the_delta(gate: str, loads: str, tmp_path: Path) -> None:
    case = CASE.with_(delta=False, gate=gate, K=100, V=60, B=1)
    check(case, tmp_path, loads=loads)
    packed = case.with_(K=32, V=48, dtype="bf16", offsets=(0, 9, 9, 35), T=37)
    check(packed, tmp_path, loads=loads, BK=32, BV=32)
    check(packed, tmp_path, loads=loads, BK=32, BV=32, store="fp32", dot="ieee")


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


def test_store_fp32_is_read_in_full(tmp_path: Path) -> None:
    check(CASE.with_(dtype="bf16"), tmp_path, store="fp32", dot="tf32x3")


@pytest.mark.triton
def test_packed_sequences_of_which_some_are_empty(tmp_path: Path) -> None:
    check(CASE.with_(B=1, T=40, offsets=(0, 0, 21, 21, 37)), tmp_path)


def test_the_recurrence_token_by_token_gives_the_same_outputs(tmp_path: Path) -> None:
    case = CASE.with_(B=1, offsets=(0, 23, 40))
    x = given(case)
    o, _ = recurrent_reference(
        *(x[name] for name in ("q", "k", "v", "g", "beta")),
        scale=SCALE,
        initial_state=x["h0"],
        cu_seqlens=case.tables()["cu_seqlens"],
    )
    assert_close("o", o, run(case, x, tmp_path), 1e-5)


def test_one_key_tile_leaves_nothing_to_pipeline() -> None:
    config = {**defaults(SPEC.axes), "BT": 64, "store": "io", "num_stages": 4}
    half = CASE.with_(K=64, V=128, dtype="bf16").problem
    whole = CASE.with_(K=128, V=128, dtype="bf16").problem
    assert "num_stages=4" in SPEC.reasons(half, config, target_named("h200"))[0]
    assert SPEC.reasons(whole, config, target_named("h200")) == []


def test_a_pipeline_that_races_in_tensor_memory_is_refused() -> None:
    problem = CASE.with_(K=128, V=128, dtype="bf16").problem
    racing = {**defaults(SPEC.axes), "BT": 64, "store": "io", "dot": "tf32"}

    def reasons(target: str = "b200", **axes: Value) -> list[str]:
        return SPEC.reasons(problem, {**racing, **axes}, target_named(target))

    (reason,) = reasons()
    assert "num_stages=2 races on sm_100" in reason
    assert "use num_stages=1 or another dot" in reason
    for axes in ({"num_stages": 1}, {"dot": "native"}, {"dot": "tf32x3"}, {"num_warps": 2}):
        assert reasons(**axes) == []
    assert reasons(target="h200") == []


def test_sums_that_fill_the_registers_are_refused_but_in_tensor_memory() -> None:
    problem = CASE.with_(K=128, V=128, dtype="bf16").problem
    config = {**defaults(SPEC.axes), "BT": 128, "store": "io", "BV": 128}
    assert "needs 256 registers" in SPEC.reasons(problem, config, target_named("h200"))[0]
    assert SPEC.reasons(problem, config, target_named("b200")) == []
