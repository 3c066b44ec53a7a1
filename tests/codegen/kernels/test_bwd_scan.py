"""Stage bwd_scan alone, against the chunk form in fp64 on the inputs it was given."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gdn_ops.codegen.axis import Value, defaults
from gdn_ops.codegen.kernels.bwd_scan import SPEC
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.render import render
from gdn_ops.codegen.targets import target_named
from gdn_ops.codegen.tensor import TENSORS
from gdn_ops.reference import recurrent_reference
from tests.close import assert_close
from tests.codegen.kernels.backward_case import (
    SCALE,
    all_gradients,
    backward_inputs,
    backward_problem,
    dg_of,
)
from tests.codegen.kernels.split_case import SplitCase, state_of, torch_dtype, with_w_u
from tests.codegen.kernels.wy import hard_keys, inverse_of
from tests.codegen.reads import reads_inside
from tests.stage_runner import run_stage

CASE = SplitCase(B=1, K=32, V=32)
BARS = {"fp32": 1e-5, "fp16": 0.008, "bf16": 0.008}
GATE_BARS = {"fp32": 1e-5, "fp16": 0.02, "bf16": 0.02}
INTERFACE = defaults(PLANS["fused"].axes)
AXES = [(axis.name, value) for axis in SPEC.axes if not axis.launch for value in axis.values]
WORKSPACE = ("dh0", "dstate", "n_rows", "dx_rows")
"""What the stage writes and reads again."""
pytestmark = pytest.mark.filterwarnings("error")  # an exp that overflows, even if masked later


def rounded(
    case: SplitCase,
    x: dict[str, torch.Tensor] | None = None,
    *,
    gate_free: bool = False,
    store: str = "io",
) -> dict[str, torch.Tensor]:
    """The stage's inputs in fp64, rounded to what the kernel gets; ``x`` is the forward's."""
    x = dict(backward_inputs(case) if x is None else x)
    x["A"] = inverse_of(case, x, gate_free=gate_free)
    kept = torch_dtype("fp32" if store == "fp32" else case.dtype)
    for name in ("A", "h"):
        x[name] = x[name].to(kept).double()
    for name in ("gc", "beta", "dht"):
        x[name] = x[name].float().double()
    return x


def run(
    case: SplitCase, x: dict[str, torch.Tensor], folder: Path, **axes: Value
) -> dict[str, torch.Tensor]:
    """What the stage writes for others to read."""
    problem = backward_problem(case)
    config = {**INTERFACE, **SPEC.default(problem), "BT": case.BT, **axes}
    typed = {
        name: x[name].to(torch_dtype(TENSORS[name].element(problem, config).name))
        for name in SPEC.inputs(problem, config)
        if name in x
    }
    walked = {
        name: torch.full(
            TENSORS[name].dims(problem, config, case.sizes),
            float("nan"),
            dtype=torch_dtype(TENSORS[name].element(problem, config).name),
        )
        for name in SPEC.outputs(problem, config)
        if name in WORKSPACE
    }
    tensors = {**typed, **walked, **case.tables()}
    arguments = {**tensors, "T": case.T, "scale": SCALE}
    with reads_inside(tensors.values()):
        out = run_stage(SPEC, problem, config, given=arguments, sizes=case.sizes, folder=folder)
    return out | ({"dh0": walked["dh0"]} if case.initial_state else {})


def check(
    case: SplitCase,
    folder: Path,
    *,
    x: dict[str, torch.Tensor] | None = None,
    **axes: Value,
) -> dict[str, torch.Tensor]:
    """Run the stage and compare the rows it must write; it writes no others."""
    store, gate_free = str(axes.get("store", "io")), bool(axes.get("gate_free", False))
    x = rounded(case, x, gate_free=gate_free, store=store)
    out = run(case, x, folder, **axes)
    gated = {**x, "A": inverse_of(case, x, gate_free=False)}
    expected = all_gradients(case, gated, SCALE)
    covered = slice(0, case.covered)
    for name, value in out.items():
        if name == "dh0":
            assert_close(name, expected[name], value, BARS[case.dtype])
            continue
        bar = (GATE_BARS if name in ("dbeta", "dgc") else BARS)[case.dtype]
        reference = expected[name][:, covered]
        if name == "dgc":
            # where nothing outlives its token its terms cancel: one of them is the measure then
            q = x["q"].repeat_interleave(case.HV // case.H, dim=2)
            term = (q * expected["dq_heads"]).sum(-1)[:, covered].square().mean().sqrt()
            bar *= max(1.0, float(term / reference.square().mean().sqrt().clamp(min=1e-30)))
        assert_close(name, reference, value[:, covered], bar)
        assert value[:, case.covered :].isnan().all()
    return out


@pytest.mark.parametrize(("name", "value"), AXES)
def test_every_axis_value(name: str, value: Value, tmp_path: Path) -> None:
    dtype = "fp16" if value == "native" else "fp32"
    check(CASE.with_(K=60, V=40, HV=1, T=20, dtype=dtype), tmp_path, **{name: value})


@pytest.mark.triton
@pytest.mark.parametrize(("dtype", "gate_free"), [("fp16", False), ("bf16", True), ("bf16", False)])
def test_16_bit_packed_and_gate_free(dtype: str, gate_free: bool, tmp_path: Path) -> None:
    case = CASE.with_(K=48, V=60, dtype=dtype, offsets=(0, 9, 9, 25), T=27)
    check(case, tmp_path, gate_free=gate_free)


@pytest.mark.parametrize("gate", ["none", "zero", "strong", "wild"])
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_gates(dtype: str, gate: str, tmp_path: Path) -> None:
    out = check(CASE.with_(gate=gate, dtype=dtype, K=16, V=16), tmp_path)
    assert ("dgc" in out) == (gate != "none")


@pytest.mark.parametrize("gate", ["strong", "wild"])
def test_strong_decays_leave_the_digits_of_dgc(gate: str, tmp_path: Path) -> None:
    case = CASE.with_(gate=gate, K=16, V=16, final_state=False, dtype="bf16")
    x = rounded(case)
    dgc = run(case, x, tmp_path)["dgc"]
    assert_close("dgc", all_gradients(case, x, SCALE)["dgc"], dgc, GATE_BARS["bf16"])


@pytest.mark.parametrize(("K", "V"), [(16, 16), (60, 100), (128, 16), (256, 256)])
def test_head_dims(K: int, V: int, tmp_path: Path) -> None:
    check(CASE.with_(K=K, V=V, T=20, HV=1), tmp_path, BK=128, BV=128)


@pytest.mark.parametrize("T", [1, 16, 17])
def test_ragged_lengths(T: int, tmp_path: Path) -> None:
    check(CASE.with_(T=T, B=2, K=16, V=16), tmp_path)


@pytest.mark.parametrize("BT", [32, 64, 128])
def test_chunk_sizes(BT: int, tmp_path: Path) -> None:
    check(CASE.with_(BT=BT, T=BT + 7, HV=1), tmp_path)


@pytest.mark.parametrize(("H", "HV"), [(1, 3), (2, 4), (2, 2)])
def test_value_heads_share_a_key_head(H: int, HV: int, tmp_path: Path) -> None:
    out = check(CASE.with_(H=H, HV=HV, K=16, V=16), tmp_path)
    assert ("dq" in out) == (H == HV)


@pytest.mark.triton
@pytest.mark.parametrize("final_state", [False, True])
def test_packed_sequences_of_which_some_are_empty(final_state: bool, tmp_path: Path) -> None:
    case = CASE.with_(T=40, K=16, V=16, offsets=(0, 0, 21, 21, 37), final_state=final_state)
    out = check(case, tmp_path)
    after = rounded(case)["dht"] if final_state else torch.zeros(4, 2, 16, 16)
    assert torch.equal(out["dh0"][0], after[0].float())
    assert torch.equal(out["dh0"][2], after[2].float())


def test_no_states_in_or_out(tmp_path: Path) -> None:
    out = check(CASE.with_(initial_state=False, final_state=False), tmp_path)
    assert set(out) == {"dq_heads", "dk_heads", "dv", "dbeta", "dgc"}


def test_store_fp32_is_read_and_written_in_full(tmp_path: Path) -> None:
    case = CASE.with_(dtype="bf16")
    out = check(case, tmp_path, store="fp32", dot="tf32x3")
    expected = all_gradients(case, rounded(case, store="fp32"), SCALE)
    assert out["dq_heads"].dtype == out["dk_heads"].dtype == torch.float32
    assert_close("dk_heads", expected["dk_heads"], out["dk_heads"], 1e-5)


@pytest.mark.parametrize("gate_free", [True, False])
def test_keys_that_nearly_repeat(gate_free: bool, tmp_path: Path) -> None:
    case = CASE.with_(BT=64, T=70, HV=1)
    x = with_w_u(case, hard_keys(case))
    x = backward_inputs(case) | x | state_of(case, x)
    check(case, tmp_path, gate_free=gate_free, x=x)


def test_autograd_of_the_recurrence_gives_the_same_gradients(tmp_path: Path) -> None:
    case = CASE.with_(T=40, offsets=(0, 23, 40))
    x = rounded(case)
    out = run(case, x, tmp_path)
    leaves = {name: x[name].clone().requires_grad_() for name in ("q", "k", "v", "g", "beta", "h0")}
    h0 = leaves["h0"]
    o, ht = recurrent_reference(
        *(leaves[name] for name in ("q", "k", "v", "g", "beta")),
        scale=SCALE,
        initial_state=h0,
        cu_seqlens=case.tables()["cu_seqlens"],
    )
    ((o * x["do"]).sum() + (ht * x["dht"]).sum()).backward()
    found = {"v": out["dv"], "beta": out["dbeta"], "g": dg_of(case, out["dgc"].double())}
    found["h0"] = out["dh0"]
    for name in ("q", "k"):
        found[name] = out[f"d{name}_heads"].unflatten(2, (case.H, -1)).sum(3)
    for name, value in found.items():
        assert_close(f"d{name}", leaves[name].grad, value, 1e-5)


def test_a_rendered_file_has_no_line_over_100_columns() -> None:
    for case in (CASE, CASE.with_(K=100, V=60, H=1, HV=4, dtype="bf16", offsets=(0, 9))):
        for axes in ({}, {"gate_free": True}, {"store": "fp32", "dot": "ieee"}):
            problem = backward_problem(case)
            config = {**INTERFACE, **SPEC.default(problem), **axes}
            assert max(map(len, render(SPEC, problem, config).splitlines())) <= 100


def test_a_tile_wider_than_the_head_is_refused_where_it_comes_to_the_same() -> None:
    narrow = backward_problem(CASE.with_(K=16, V=16, dtype="bf16"))
    config = {**INTERFACE, **SPEC.default(narrow)}
    h200 = target_named("h200")
    assert SPEC.reasons(narrow, config, h200) == []
    assert "BK=64 is the same as BK=32" in SPEC.reasons(narrow, {**config, "BK": 64}, h200)[0]
    assert "BV=128 is the same as BV=32" in SPEC.reasons(narrow, {**config, "BV": 128}, h200)[0]


def test_refusals_name_what_to_change() -> None:
    problem = backward_problem(CASE.with_(K=128, V=128, dtype="bf16"))
    config = {**INTERFACE, **SPEC.default(problem)}
    h200, b200 = target_named("h200"), target_named("b200")
    (reason,) = SPEC.reasons(problem, {**config, "BT": 128, "num_warps": 4}, h200)
    assert "two gradients of 128 x 128 and two of 128 x 32 needs 320 registers" in reason
    (reason,) = SPEC.reasons(problem, {**config, "BK": 128}, b200)
    assert reason == "tiles of 128 channels do not compile for sm_100; use 64 or 32"


@pytest.mark.parametrize("target", ["a100", "h200", "b200", "mi300x"])
@pytest.mark.parametrize("BT", [16, 32, 64, 128])
@pytest.mark.parametrize(("K", "V"), [(16, 256), (60, 100), (256, 16)])
def test_the_default_is_never_refused(K: int, V: int, BT: int, target: str) -> None:
    for dtype in ("bf16", "fp32"):
        problem = backward_problem(CASE.with_(K=K, V=V, dtype=dtype))
        config = {**INTERFACE, **SPEC.default(problem), "BT": BT}
        assert SPEC.reasons(problem, config, target_named(target)) == []
