"""Stage fused1, which is plan fused1, against the recurrence in fp64 on the inputs it was given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gdn_ops.codegen.axis import Value
from gdn_ops.codegen.compiled.compile import signature
from gdn_ops.codegen.kernels.fused1 import SPEC
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.targets import target_named
from gdn_ops.codegen.tensor import TENSORS
from gdn_ops.codegen.variant import Variant
from gdn_ops.reference import recurrent_reference
from tests.close import assert_close
from tests.codegen.kernels.split_case import SplitCase, torch_dtype
from tests.codegen.kernels.wy import hard_keys
from tests.codegen.reads import reads_inside
from tests.sampling import every_second
from tests.stage_runner import run_stage

CASE = SplitCase()
ODD = CASE.with_(K=100, V=60, T=20)
SCALE = 0.37
pytestmark = pytest.mark.filterwarnings("error")  # an exp that overflows, even if masked later
BARS = {"fp32": 1e-5, "fp16": 0.005, "bf16": 0.005}
USUAL = {**SPEC.default(ODD.problem), "dot": "ieee"}
AXES = [
    (axis.name, value)
    for axis in SPEC.axes
    for value in axis.values
    if not axis.launch and value != USUAL[axis.name]
]
H200 = target_named("h200")


def expected(case: SplitCase, x: dict[str, Tensor], g: Tensor) -> tuple[Tensor, Tensor]:
    """o and ht of the recurrence, with the log decay g."""
    q, k = (x[n].repeat_interleave(case.HV // case.H, dim=2) for n in ("q", "k"))
    o, ht = recurrent_reference(
        *(y[:, : case.covered] for y in (q, k, x["v"], g, x["beta"])),
        scale=SCALE,
        initial_state=x["h0"] if case.initial_state else None,
        cu_seqlens=case.tables().get("cu_seqlens"),
    )
    return o, ht


def check(
    case: SplitCase,
    folder: Path,
    *,
    x: dict[str, Tensor] | None = None,
    raw: dict[str, Tensor] | None = None,
    **axes: Value,
) -> dict[str, Tensor]:
    """Run the stage and compare everything it writes; it writes nothing else.

    ``raw`` holds A_log and maybe dt_bias where g of ``x`` is a raw gate.
    """
    x = case.inputs() if x is None else x
    x = {n: y.float().double() if n in ("g", "beta", "h0") else y for n, y in x.items()}
    problem, g = case.problem, x["g"]
    if raw is not None:
        problem = replace(problem, gate_in_kernel=True, dt_bias="dt_bias" in raw)
        soft = torch.nn.functional.softplus(g + raw.get("dt_bias", torch.zeros(1)).double())
        g = -raw["A_log"].double().exp() * soft
    dot = "ieee" if case.dtype == "fp32" else "native"
    config = {**SPEC.default(problem), "BT": case.BT, "dot": dot, **axes}
    named = {**x, **(raw or {})}
    tensors = {
        name: named[name].to(torch_dtype(TENSORS[name].element(problem, config).name))
        for name in SPEC.inputs(problem, config)
        if name in named
    } | case.tables()
    with reads_inside(tensors.values()):
        out = run_stage(
            SPEC,
            problem,
            config,
            given={**tensors, "T": case.T, "scale": SCALE},
            sizes=case.sizes,
            folder=folder,
        )
    o, ht = expected(case, x, g)
    bar = BARS[case.dtype]
    if config["solve"] == "doubling" and config["merge_dot"] == "fp16":
        bar = BARS["fp16"]  # refused for fp32, but the code is the same as of 16 bits
    assert_close("o", o, out["o"][:, : case.covered], bar)
    assert out["o"][:, case.covered :].isnan().all()
    if case.final_state:
        assert_close("ht", ht, out["ht"], bar)
    return out


@pytest.mark.parametrize(("name", "value"), AXES)
def test_every_axis_value(name: str, value: Value, tmp_path: Path) -> None:
    dtype = "fp16" if value == "native" else "fp32"
    axes: dict[str, Any] = {"solve": "doubling"} if name in ("merge_dot", "unroll") else {}
    check(ODD.with_(dtype=dtype), tmp_path, **{**axes, name: value})


@pytest.mark.triton
@pytest.mark.parametrize(
    ("dtype", "loads", "layout"),
    every_second(["fp16", "bf16"], ["pointer", "descriptor"], ["KV", "VK"]),
)
def test_16_bit_in_every_shape_of_the_code(
    dtype: str, loads: str, layout: str, tmp_path: Path
) -> None:
    case = CASE.with_(K=48, V=48, dtype=dtype, offsets=(0, 9, 9, 35), B=1, T=37)
    unroll = layout == "VK"
    check(case, tmp_path, layout=layout, loads=loads, BK=32, BV=32, unroll=unroll)


@pytest.mark.parametrize(
    ("K", "V"), [(16, 16), (60, 100), (100, 60), (64, 128), (128, 16), (256, 256)]
)
def test_head_dims(K: int, V: int, tmp_path: Path) -> None:
    check(CASE.with_(K=K, V=V, B=1, T=20), tmp_path, BV=128)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("gate", ["none", "zero", "strong", "wild"])
def test_gates(gate: str, dtype: str, tmp_path: Path) -> None:
    check(CASE.with_(gate=gate, dtype=dtype), tmp_path)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("size", [1.0, 1000.0])
def test_a_raw_gate_is_activated_and_summed(size: float, bias: bool, tmp_path: Path) -> None:
    case = CASE.with_(B=1, T=45, offsets=(0, 0, 21, 21, 37))
    x = case.inputs()
    x["g"] = size * x["g"]  # a raw gate; -0 to -300
    raw = {"A_log": torch.tensor([-1.0, 2.0])} | ({"dt_bias": torch.randn(2)} if bias else {})
    check(case, tmp_path, x=x, raw=raw)


@pytest.mark.parametrize("T", [1, 15, 16, 17])
def test_ragged_lengths(T: int, tmp_path: Path) -> None:
    check(CASE.with_(T=T, B=2), tmp_path)


@pytest.mark.parametrize("solve", ["rows", "doubling"])
@pytest.mark.parametrize("BT", [32, 64, 128])
def test_chunk_sizes(BT: int, solve: str, tmp_path: Path) -> None:
    check(CASE.with_(BT=BT, T=BT + 7, B=1), tmp_path, solve=solve, merge_dot="tf32x3")


@pytest.mark.parametrize(
    ("solve", "merge_dot"), [("rows", "fp16"), ("doubling", "tf32x3"), ("doubling", "fp16")]
)
def test_keys_that_nearly_repeat(solve: str, merge_dot: str, tmp_path: Path) -> None:
    case = CASE.with_(BT=64, T=64, K=32, HV=1, B=1, gate="zero")
    check(case, tmp_path, x=hard_keys(case), solve=solve, merge_dot=merge_dot)


@pytest.mark.parametrize(("H", "HV"), [(1, 3), (2, 4), (2, 2)])
def test_value_heads_share_a_key_head(H: int, HV: int, tmp_path: Path) -> None:
    check(CASE.with_(H=H, HV=HV, B=1), tmp_path)


@pytest.mark.triton
@pytest.mark.parametrize("initial_state", [False, True])
def test_packed_sequences_of_which_some_are_empty(initial_state: bool, tmp_path: Path) -> None:
    case = CASE.with_(B=1, T=40, offsets=(0, 0, 21, 21, 37), initial_state=initial_state)
    out = check(case, tmp_path)
    before = case.inputs()["h0"] if initial_state else torch.zeros(4, 2, 16, 16)
    assert torch.equal(out["ht"][0], before[0].float())
    assert torch.equal(out["ht"][2], before[2].float())


@pytest.mark.parametrize("loads", ["pointer", "descriptor"])
def test_no_states_in_or_out(loads: str, tmp_path: Path) -> None:
    case = CASE.with_(initial_state=False, final_state=False)
    assert set(check(case, tmp_path, loads=loads)) == {"o"}


def test_nothing_but_inputs_and_results_goes_through_memory() -> None:
    problem = CASE.with_(dtype="bf16").problem
    config = {**SPEC.default(problem), "BT": 64}
    assert list(signature(SPEC, problem, config)) == [
        "q", "k", "v", "beta", "g", "h0", "o", "ht", "T", "scale",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("axes", "reason"),
    [
        ({"BK": 64, "BV": 128}, "fill"),
        ({"solve": "rows", "merge_dot": "tf32"}, "merge_dot=fp16 for solve=rows"),
        ({"solve": "rows", "unroll": True}, "unroll=True needs solve=doubling"),
        ({"num_stages": 3}, "has no pipeline; use unroll=True"),
    ],
)
def test_refusals_name_what_to_change(axes: dict[str, Value], reason: str) -> None:
    problem = CASE.with_(K=128, V=128, dtype="bf16").problem
    config = {**SPEC.default(problem), "BT": 64}
    assert SPEC.reasons(problem, config, H200) == []
    if reason == "fill":
        reason = "a state of 128 x 128 with a chunk's inverse and decays, each 64 x 64"
    assert reason in " ".join(SPEC.reasons(problem, {**config, **axes}, H200))


def test_what_a_target_or_a_dtype_has_not_is_refused() -> None:
    problem = CASE.with_(K=128, V=128, dtype="bf16").problem
    config = {**SPEC.default(problem), "BT": 64}
    (reason,) = SPEC.reasons(problem, {**config, "unroll": True}, target_named("b200"))
    assert "512 columns of an SM" in reason
    (reason,) = SPEC.reasons(problem, {**config, "merge_dot": "tf32"}, target_named("mi300x"))
    assert "NVIDIA tensor cores" in reason
    exact = replace(problem, dtype="fp32")
    config = {**SPEC.default(exact), "BT": 16, "solve": "doubling"}
    (reason,) = SPEC.reasons(exact, config, H200)
    assert "use tf32x3 or solve=rows" in reason


@pytest.mark.parametrize(
    ("op", "reason"),
    [
        ("decode", "plan fused1 works on chunks and decode has one token per sequence"),
        ("pool", "plan fused1 works on chunks and op pool has a few tokens per sequence"),
        ("backward", "plan fused1 has no backward; plan split has one"),
    ],
)
def test_ops_the_plan_refuses(op: str, reason: str) -> None:
    problem = replace(CASE.with_(dtype="bf16").problem, op=op)
    variant = Variant.default("fused1", problem)
    assert variant.reasons(problem, H200) == [reason]
    assert PLANS["fused1"].stages(problem) == ("fused1",)
