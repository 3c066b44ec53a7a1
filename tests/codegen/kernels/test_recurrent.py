"""Stage recurrent, the whole rule in one kernel, against the recurrence in fp64."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch

from gdn_ops.codegen.axis import Value, defaults
from gdn_ops.codegen.kernels.recurrent import SPEC
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.targets import target_named
from gdn_ops.codegen.tensor import TENSORS, Sizes
from gdn_ops.reference import recurrent_reference
from gdn_ops.reference.activations import log_decay
from tests.close import assert_close
from tests.codegen.kernels.split_case import SplitCase, torch_dtype
from tests.codegen.reads import reads_inside
from tests.sampling import every_second
from tests.stage_runner import run_stage

CASE = SplitCase(T=7)
BARS = {"fp32": 1e-5, "fp16": 0.005, "bf16": 0.005}
AXES = [(axis.name, value) for axis in SPEC.axes if not axis.launch for value in axis.values]
SCALE = 0.37
pytestmark = pytest.mark.filterwarnings("error")  # an exp that overflows, even if masked later


def given(case: SplitCase, problem: Problem) -> dict[str, torch.Tensor]:
    """The stage's inputs in fp64, already rounded to what the kernel gets."""
    x = case.inputs()
    for name in ("beta", "g", "h0"):
        x[name] = x[name].float().double()
    if problem.gate_in_kernel:
        x["g"] = 40 * torch.randn_like(x["g"]).float().double()
        x["A_log"] = torch.randn(case.HV).double()
        x["dt_bias"] = torch.randn(x["g"].shape[2:]).double()
    return x


def run(
    problem: Problem, sizes: Sizes, x: dict[str, torch.Tensor], folder: Path, **axes: Value
) -> dict[str, torch.Tensor]:
    config = {**defaults(SPEC.axes), **axes}
    typed = {
        name: value.to(torch_dtype(TENSORS[name].element(problem, config).name))
        for name, value in x.items()
        if value.is_floating_point()
    }
    tensors = {**x, **typed}
    arguments = {**tensors, "T": sizes.T, "scale": SCALE}
    with reads_inside(tensors.values()):
        return run_stage(SPEC, problem, config, given=arguments, sizes=sizes, folder=folder)


def expected(
    case: SplitCase, problem: Problem, x: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    g = None if case.gate == "none" else x["g"]
    if problem.gate_in_kernel:
        g = log_decay(x["g"], x["A_log"], x["dt_bias"] if problem.dt_bias else None)
    return recurrent_reference(
        x["q"], x["k"], x["v"], g, x["beta"] if case.delta else None,
        delta=case.delta,
        scale=SCALE,
        initial_state=x["h0"] if case.initial_state else None,
        cu_seqlens=case.tables().get("cu_seqlens"),
    )  # fmt: skip


def check(
    case: SplitCase, folder: Path, *, flags: dict[str, bool] | None = None, **axes: Value
) -> dict[str, torch.Tensor]:
    """Run the stage and compare everything it writes; it writes nothing else."""
    problem = replace(case.problem, **(flags or {}))
    x = given(case, problem)
    o, ht = expected(case, problem, x)
    out = run(problem, case.sizes, {**x, **case.tables()}, folder, **axes)
    covered = slice(0, case.covered)
    assert_close("o", o[:, covered], out["o"][:, covered], BARS[case.dtype])
    assert out["o"][:, case.covered :].isnan().all()
    if case.final_state:
        assert_close("ht", ht, out["ht"], BARS[case.dtype])
    return out


@pytest.mark.parametrize(("name", "value"), AXES)
def test_every_axis_value(name: str, value: Value, tmp_path: Path) -> None:
    check(CASE.with_(K=100, V=60, T=4), tmp_path, **{name: value})


@pytest.mark.triton
@pytest.mark.parametrize(
    ("dtype", "gate", "reads", "prefetch"),
    every_second(["fp16", "bf16"], ["none", "model"], [1, 2], [0, 1, 2]),
)
def test_16_bit_in_every_shape_of_the_code(
    dtype: str, gate: str, reads: int, prefetch: int, tmp_path: Path
) -> None:
    case = CASE.with_(dtype=dtype, gate=gate, K=20, V=36, offsets=(0, 3, 3, 9), B=1, T=10)
    check(case, tmp_path, reads=reads, prefetch=prefetch)


@pytest.mark.parametrize(("K", "V"), [(1, 1), (16, 16), (60, 100), (128, 64), (256, 256)])
def test_head_dims(K: int, V: int, tmp_path: Path) -> None:
    check(CASE.with_(K=K, V=V, B=1, T=3), tmp_path, BV=128)


@pytest.mark.parametrize("reads", [1, 2])
@pytest.mark.parametrize("gate", ["none", "zero", "strong", "wild"])
def test_gates(gate: str, reads: int, tmp_path: Path) -> None:
    check(CASE.with_(gate=gate), tmp_path, reads=reads)


@pytest.mark.parametrize(
    ("gate", "reads", "prefetch"), every_second(["none", "model", "wild"], [1, 2], [0, 1, 2])
)
def test_without_the_delta(gate: str, reads: int, prefetch: int, tmp_path: Path) -> None:
    case = CASE.with_(delta=False, gate=gate, K=20, V=36, offsets=(0, 3, 3, 9), B=1, T=10)
    check(case, tmp_path, reads=reads, prefetch=prefetch)
    if prefetch < 2:  # a decode has none: once is enough
        batch = CASE.with_(delta=False, gate=gate, T=1, B=3, dtype="bf16")
        check(batch, tmp_path, flags={"op": "decode"}, reads=reads)


@pytest.mark.parametrize(
    ("delta", "reads", "prefetch"),
    [
        pytest.param(*values, marks=[] if sum(values) % 2 else pytest.mark.exhaustive)
        for values in product((False, True), (1, 2), (0, 1, 2))
    ],
)
def test_a_gate_a_key_channel(delta: bool, reads: int, prefetch: int, tmp_path: Path) -> None:
    case = CASE.with_(vector=True, delta=delta, K=20, V=36, H=2, HV=4)
    packed = case.with_(offsets=(0, 3, 3, 9), B=1, T=10)
    check(packed, tmp_path, reads=reads, prefetch=prefetch)
    check(case.with_(gate="wild", dtype="bf16"), tmp_path, reads=reads, prefetch=prefetch)
    check(case.with_(T=1, B=3), tmp_path, flags={"op": "decode"}, reads=reads)


@pytest.mark.parametrize("vector", [False, True])
@pytest.mark.parametrize("dt_bias", [False, True])
@pytest.mark.parametrize("op", ["forward", "decode"])
def test_raw_gates(op: str, dt_bias: bool, vector: bool, tmp_path: Path) -> None:
    flags = {"op": op, "gate_in_kernel": True, "dt_bias": dt_bias}
    case = CASE.with_(T=1 if op == "decode" else 7, B=3, vector=vector, K=20)
    check(case, tmp_path, flags=flags)


@pytest.mark.parametrize(("H", "HV"), [(1, 3), (2, 4), (2, 2)])
def test_value_heads_share_a_query_head(H: int, HV: int, tmp_path: Path) -> None:
    check(CASE.with_(H=H, HV=HV, B=2), tmp_path)


@pytest.mark.parametrize("reads", [1, 2])
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("states", [False, True])
def test_decode(states: bool, dtype: str, reads: int, tmp_path: Path) -> None:
    case = CASE.with_(B=5, T=1, K=40, V=24, dtype=dtype)
    case = case.with_(initial_state=states, final_state=states)
    check(case, tmp_path, flags={"op": "decode"}, reads=reads)


@pytest.mark.triton
@pytest.mark.parametrize("prefetch", [0, 1, 2])
@pytest.mark.parametrize("initial_state", [False, True])
def test_packed_sequences_of_which_some_are_empty(
    initial_state: bool, prefetch: int, tmp_path: Path
) -> None:
    offsets = (0, 0, 5, 5, 9, 9)
    case = CASE.with_(B=1, T=9, offsets=offsets, initial_state=initial_state)
    out = check(case, tmp_path, prefetch=prefetch)
    before = given(case, case.problem)["h0"] if initial_state else torch.zeros(5, 2, 16, 16)
    for n in (0, 2, 4):
        assert torch.equal(out["ht"][n], before[n].float())


def test_the_state_goes_on_in_a_second_call_and_in_decode(tmp_path: Path) -> None:
    whole = CASE.with_(T=9, B=1)
    x = given(whole, whole.problem)
    S, outputs = x.pop("h0"), []
    for op, tokens in (("forward", slice(5)), ("forward", slice(5, 8)), ("decode", slice(8, 9))):
        part = {name: value[:, tokens] for name, value in x.items()}
        sizes = Sizes(B=1, T=part["q"].shape[1], N=1, NT=0)
        out = run(replace(whole.problem, op=op), sizes, {**part, "h0": S}, tmp_path)
        outputs.append(out["o"])
        S = out["ht"].double()
    x = given(whole, whole.problem)
    together = run(whole.problem, whole.sizes, x, tmp_path)
    assert_close("ht", together["ht"], S, 1e-6)
    assert_close("o", together["o"], torch.cat(outputs, dim=1), 1e-6)


def test_what_changes_nothing_is_refused() -> None:
    target, config = target_named("h200"), defaults(SPEC.axes)
    decode = Problem(
        op="decode", H=1, HV=1, K=128, V=128, dtype="bf16", tokens=4, sequences=4,
        initial_state=True, final_state=True,
    )  # fmt: skip
    fresh = replace(decode, op="forward", initial_state=False)
    assert SPEC.reasons(decode, config, target) == SPEC.reasons(fresh, config, target) == []
    assert "prefetch=2" in SPEC.reasons(decode, {**config, "prefetch": 2}, target)[0]
    assert "VEC=1" in SPEC.reasons(fresh, {**config, "VEC": 1}, target)[0]
    assert "BV=64" in SPEC.reasons(replace(decode, V=16), {**config, "BV": 64}, target)[0]
