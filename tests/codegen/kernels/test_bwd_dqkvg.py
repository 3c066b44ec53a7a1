"""Stage bwd_dqkvg alone, against the chunk form in fp64 on the inputs it was given."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
import torch

from gdn_ops.codegen.axis import Value
from gdn_ops.codegen.kernels.bwd_dqkvg import SPEC
from gdn_ops.codegen.targets import target_named
from gdn_ops.codegen.tensor import TENSORS
from gdn_ops.reference import recurrent_reference
from tests.close import assert_close
from tests.codegen.kernels.backward_case import (
    backward_inputs,
    dg_of,
    dstate_of,
    dv_local_of,
    grads_of,
)
from tests.codegen.kernels.split_case import SplitCase, state_of, torch_dtype, with_w_u
from tests.codegen.kernels.wy import INTERFACE, hard_keys, inverse_of
from tests.codegen.reads import reads_inside
from tests.sampling import every_second
from tests.stage_runner import run_stage

CASE = SplitCase(B=1, K=32, V=32)
BARS = {"fp32": 1e-5, "fp16": 0.008, "bf16": 0.008}
GATE_BARS = {"fp32": 1e-5, "fp16": 0.02, "bf16": 0.02}
AXES = [(axis.name, value) for axis in SPEC.axes if not axis.launch for value in axis.values]
SCALE = 0.37
pytestmark = pytest.mark.filterwarnings("error")  # an exp that overflows, even if masked later


def exact(case: SplitCase, x: dict[str, torch.Tensor] | None = None) -> dict[str, torch.Tensor]:
    """The stage's inputs in fp64, by the stages before it; ``x`` is what the forward leaves."""
    x = dict(backward_inputs(case) if x is None else x)
    x["dv_local"] = dv_local_of(case, x, SCALE)
    return x | dstate_of(case, x, SCALE)


def rounded(
    case: SplitCase, x: dict[str, torch.Tensor], *, gate_free: bool = True, store: str = "io"
) -> dict[str, torch.Tensor]:
    """The stage's inputs with A, in fp64, rounded to what the kernel gets."""
    x = {**x, "A": inverse_of(case, x, gate_free=gate_free)}
    kept = torch_dtype("fp32" if store == "fp32" else case.dtype)
    for name in ("A", "h", "v_new", "dh", "dv_new") if case.delta else ("h", "dh"):
        x[name] = x[name].to(kept).double()
    for name in ("gc", "beta"):
        x[name] = x[name].float().double()
    return x


def run(
    case: SplitCase, x: dict[str, torch.Tensor], folder: Path, **axes: Value
) -> dict[str, torch.Tensor]:
    problem = case.problem
    config = {**INTERFACE, **SPEC.default(problem), "BT": case.BT, **axes}
    typed = {
        name: x[name].to(torch_dtype(TENSORS[name].element(problem, config).name))
        for name in SPEC.inputs(problem, config)
        if name in x
    }
    tensors = {**typed, **case.tables()}
    arguments = {**tensors, "T": case.T, "scale": SCALE}
    with reads_inside(tensors.values()):
        return run_stage(SPEC, problem, config, given=arguments, sizes=case.sizes, folder=folder)


def compare(
    case: SplitCase, out: dict[str, torch.Tensor], x: dict[str, torch.Tensor], *, gate_free: bool
) -> None:
    covered = slice(0, case.covered)
    expected = grads_of(case, x, SCALE, gate_free=gate_free)
    for name, value in out.items():
        bar = (GATE_BARS if name in ("dbeta", "dgc") else BARS)[case.dtype]
        reference = expected[name][:, covered]
        if name == "dgc":
            # where nothing outlives its token its terms cancel: one of them is the measure then
            q = x["q"].repeat_interleave(case.HV // case.H, dim=2)
            term = (q * expected["dq_heads"]).sum(-1)[:, covered].square().mean().sqrt()
            bar *= max(1.0, float(term / reference.square().mean().sqrt().clamp(min=1e-30)))
        assert_close(name, reference, value[:, covered], bar)
        assert value[:, case.covered :].isnan().all()


def check(
    case: SplitCase,
    folder: Path,
    *,
    gate_free: bool = True,
    store: str = "io",
    x: dict[str, torch.Tensor] | None = None,
    **axes: Value,
) -> dict[str, torch.Tensor]:
    """Run the stage and compare the rows it must write; it writes no others."""
    x = rounded(case, exact(case, x), gate_free=gate_free, store=store)
    out = run(case, x, folder, gate_free=gate_free, store=store, **axes)
    compare(case, out, x, gate_free=gate_free)
    return out


@pytest.mark.parametrize("loads", ["pointer", "descriptor"])
@pytest.mark.parametrize("gate", ["none", "model", "wild"])
def test_without_the_delta(gate: str, loads: str, tmp_path: Path) -> None:
    case = CASE.with_(delta=False, gate=gate, K=100, V=60)
    out = check(case, tmp_path, loads=loads)
    assert set(out) == {"dq_heads", "dk_heads", *(["dgc"] if gate != "none" else [])}
    packed = case.with_(H=2, K=32, V=48, dtype="bf16", offsets=(0, 9, 9, 35), T=37)
    check(packed, tmp_path, loads=loads)
    check(packed, tmp_path, loads=loads, store="fp32", dot="ieee")


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
    out = check(CASE.with_(gate=gate), tmp_path, gate_free=gate_free)
    assert ("dgc" in out) == (gate != "none")


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
    out = check(CASE.with_(H=H, HV=HV, B=2), tmp_path)
    assert ("dq" in out) == (H == HV)


@pytest.mark.triton
def test_packed_sequences_of_which_some_are_empty(tmp_path: Path) -> None:
    check(CASE.with_(T=40, offsets=(0, 0, 21, 21, 37)), tmp_path)


def test_store_fp32_is_read_and_written_in_full(tmp_path: Path) -> None:
    case = CASE.with_(dtype="bf16")
    out = check(case, tmp_path, store="fp32", dot="tf32x3")
    expected = grads_of(case, rounded(case, exact(case), store="fp32"), SCALE, gate_free=True)
    assert out["dq_heads"].dtype == out["dk_heads"].dtype == torch.float32
    assert_close("dk_heads", expected["dk_heads"], out["dk_heads"], 1e-5)


@pytest.mark.parametrize("gate", ["zero", "model"])
def test_autograd_of_the_recurrence_gives_the_same_gradients(gate: str, tmp_path: Path) -> None:
    case = CASE.with_(gate=gate, T=40, offsets=(0, 23, 40))
    x = exact(case)
    out = run(case, rounded(case, x), tmp_path)
    leaves = {name: x[name].clone().requires_grad_() for name in ("q", "k", "v", "g", "beta")}
    o, ht = recurrent_reference(
        *leaves.values(),
        scale=SCALE,
        initial_state=x["h0"],
        cu_seqlens=case.tables()["cu_seqlens"],
    )
    ((o * x["do"]).sum() + (ht * x["dht"]).sum()).backward()
    found = {"v": out["dv"], "beta": out["dbeta"], "g": dg_of(case, out["dgc"].double())}
    for name in ("q", "k"):
        found[name] = out[f"d{name}_heads"].unflatten(2, (case.H, -1)).sum(3)
    for name, value in found.items():
        assert_close(f"d{name}", leaves[name].grad, value, 1e-5)


@pytest.mark.parametrize("gate_free", [True, False])
def test_keys_that_nearly_repeat(gate_free: bool, tmp_path: Path) -> None:
    case = CASE.with_(BT=64, T=70, HV=1)
    x = with_w_u(case, hard_keys(case))
    x = backward_inputs(case) | x | state_of(case, x)
    check(case, tmp_path, gate_free=gate_free, x=x)


def test_refusals_name_what_to_change() -> None:
    problem = CASE.with_(K=128, V=128, dtype="bf16").problem
    config = {**INTERFACE, **SPEC.default(problem)}
    h200, b200 = target_named("h200"), target_named("b200")

    def reasons(**axes: Value) -> str:
        return " ".join(SPEC.reasons(problem, {**config, **axes}, h200))

    assert "two gradients of 128 x 128" in reasons(BT=128, num_warps=4)
    assert "three gradients of 128 x 128" in reasons(BT=128, BK=128, num_warps=4)
    assert reasons(BV=128) == reasons(BV=128, num_stages=3) == ""
    narrow = CASE.with_(K=16, V=16, dtype="bf16").problem
    assert "BK=64 is the same as BK=32" in SPEC.reasons(narrow, {**config, "BK": 64}, h200)[0]
    alone = SPEC.reasons(narrow, {**config, "num_stages": 3}, h200)
    assert len(alone) == 1
    assert "leaves no loop to pipeline" in alone[0]
    wide = {**config, "BT": 128, "num_warps": 4}
    assert SPEC.reasons(problem, wide, b200) == []
    (one_tile,) = SPEC.reasons(problem, {**config, "BK": 128}, b200)
    assert "use a smaller BK" in one_tile
    (piped,) = SPEC.reasons(problem, {**config, "BV": 128, "num_stages": 2}, b200)
    assert "use num_stages=1 or a smaller BV" in piped


@pytest.mark.parametrize("stages", [2, 3])
def test_a_pipeline_that_races_is_refused(stages: int) -> None:
    """Where tiles go into asynchronous products as they are, and a gate has them summed too."""
    case = CASE.with_(K=128, V=128, dtype="bf16")
    racing = {**INTERFACE, **SPEC.default(case.problem), "num_stages": stages}

    def reasons(case: SplitCase = case, target: str = "h200", **axes: Value) -> list[str]:
        return SPEC.reasons(case.problem, {**racing, **axes}, target_named(target))

    for axes in ({}, {"loads": "descriptor"}, {"dot": "tf32", "store": "fp32"}, {"BT": 128}):
        (reason,) = reasons(**axes)
        assert f"num_stages={stages} races on sm_90" in reason
        assert "use num_stages=1" in reason
    assert "races" in reasons(case.with_(delta=False))[0]
    for axes in ({"dot": "tf32"}, {"dot": "tf32x3"}, {"dot": "ieee"}, {"BT": 32}, {"BV": 128}):
        assert reasons(**axes) == []
    assert reasons(case.with_(gate="none")) == []
    for target in ("a100", "b200", "rtx5090", "mi300x"):
        assert reasons(target=target) == []


@pytest.mark.parametrize("target", ["a100", "h200", "b200", "mi300x"])
@pytest.mark.parametrize("BT", [16, 32, 64, 128])
@pytest.mark.parametrize(("K", "V"), [(16, 256), (60, 100), (128, 128), (256, 16)])
def test_the_default_is_never_refused(K: int, V: int, BT: int, target: str) -> None:
    for dtype in ("bf16", "fp32"):
        problem = CASE.with_(K=K, V=V, dtype=dtype).problem
        config = {**INTERFACE, **SPEC.default(problem), "BT": BT}
        assert SPEC.reasons(problem, config, target_named(target)) == []
