"""Stages torch_chunk, torch_chunk_vector and torch_recurrent against the recurrence in fp64."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
import torch

from gdn_ops.codegen.axis import Value
from gdn_ops.codegen.kernels import torch_chunk, torch_recurrent
from gdn_ops.codegen.render import render
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.targets import target_named
from tests.close import assert_close
from tests.codegen.kernels.split_case import torch_dtype
from tests.codegen.kernels.torch_case import TorchCase
from tests.codegen.rendered_source import assert_torch_file

CHUNK, TOKEN = torch_chunk.SPEC, torch_recurrent.SPEC
BARS = {"fp32": 1e-5, "fp16": 0.005, "bf16": 0.005}
GRADIENT_BARS = {"fp32": 1e-4, "bf16": 0.008}
PACKED = TorchCase(B=1, T=75, offsets=(0, 0, 15, 16, 16, 50, 70))
DECODE = TorchCase(B=3, T=1, op="decode")
AXES = [(axis.name, value) for axis in CHUNK.axes for value in axis.values]
GATES = ("none", "open", "model", "strong", "resets", "raw")
GATES_AND_DELTA = list(product(("none", "model", "raw"), (True, False)))
pytestmark = pytest.mark.filterwarnings("error")


def check(spec: KernelSpec, case: TorchCase, folder: Path, **axes: Value) -> None:
    """Run the stage and compare all it returns; the inputs stay as they are."""
    before = {name: value.clone() for name, value in case.inputs.items()}
    out, expected = case.run(spec, folder, **axes), case.expected()
    bar = BARS[case.dtype] * max(1.0, (64 / case.K) ** 0.5)
    assert_close("o", expected["o"], out["o"], bar)
    assert out["o"].dtype is torch_dtype(case.dtype) and out["o"].is_contiguous()
    if case.states:
        assert_close("ht", expected["ht"], out["ht"], bar)
        assert out["ht"].dtype is torch.float32
        assert out["ht"].data_ptr() != case.inputs["h0"].data_ptr()
    for name, value in case.inputs.items():
        assert torch.equal(value.nan_to_num(), before[name].nan_to_num()), name


@pytest.mark.parametrize(("name", "value"), AXES)
@pytest.mark.parametrize("case", [TorchCase(), PACKED], ids=["dense", "packed"])
def test_every_axis_value(name: str, value: Value, case: TorchCase, tmp_path: Path) -> None:
    if value == "native":
        case = TorchCase(B=case.B, K=64, offsets=case.offsets, dtype="bf16")
    check(CHUNK, case, tmp_path, **{name: value})


@pytest.mark.parametrize(
    ("BT", "solve", "gate"), list(product((16, 32, 128), ("rows", "blocks"), GATES))
)
def test_gates_in_every_chunk_size(BT: int, solve: str, gate: str, tmp_path: Path) -> None:
    check(CHUNK, TorchCase(T=150, gate=gate), tmp_path, BT=BT, solve=solve)


@pytest.mark.parametrize(
    ("gate", "offsets"), list(product(GATES, (None, (0, 0, 15, 16, 16, 50, 70))))
)
def test_without_the_delta(gate: str, offsets: tuple[int, ...] | None, tmp_path: Path) -> None:
    B = 2 if offsets is None else 1
    for H, BT, states in ((2, 16, True), (4, 64, False)):
        case = TorchCase(B=B, H=H, gate=gate, delta=False, states=states, offsets=offsets)
        check(CHUNK, case, tmp_path, BT=BT)
        check(TOKEN, case, tmp_path)
    narrow = TorchCase(B=B, K=64, gate=gate, delta=False, offsets=offsets, dtype="bf16")
    check(CHUNK, narrow, tmp_path, dot="native")


@pytest.mark.parametrize("T", [0, 1, 15, 16, 64, 129])
def test_lengths(T: int, tmp_path: Path) -> None:
    check(CHUNK, TorchCase(T=T), tmp_path, BT=16)
    check(CHUNK, TorchCase(T=T, states=False), tmp_path)


@pytest.mark.parametrize(
    "offsets", [(0, 75), (0, 0), (0, 0, 0, 1), (0, 64, 75), (0, 1, 2, 3, 40, 40), (0, 5, 70, 71)]
)
def test_packed_sequences(offsets: tuple[int, ...], tmp_path: Path) -> None:
    for states, BT in ((True, 16), (False, 64)):
        case = TorchCase(B=1, offsets=offsets, states=states)
        check(CHUNK, case, tmp_path, BT=BT)
        check(TOKEN, case, tmp_path)


@pytest.mark.parametrize(
    ("H", "HV", "K", "V"),
    [(1, 1, 16, 16), (1, 3, 60, 100), (2, 2, 256, 20), (1, 2, 1, 256), (4, 4, 100, 60)],
)
def test_heads(H: int, HV: int, K: int, V: int, tmp_path: Path) -> None:
    for offsets in (None, (0, 30, 75)):
        case = TorchCase(B=1, H=H, HV=HV, K=K, V=V, offsets=offsets)
        check(CHUNK, case, tmp_path, BT=32)
        check(CHUNK, TorchCase(B=1, H=H, HV=HV, K=K, V=V, gate="none"), tmp_path, BT=32)
        check(TOKEN, case, tmp_path)


@pytest.mark.parametrize("solve", ["rows", "blocks"])
@pytest.mark.parametrize("gate", ["none", "open"])
def test_writing_strength_near_two(solve: str, gate: str, tmp_path: Path) -> None:
    check(CHUNK, TorchCase(T=300, K=64, gate=gate, beta=2.0), tmp_path, solve=solve)


@pytest.mark.parametrize(
    ("dtype", "dot"), [("bf16", "ieee"), ("bf16", "native"), ("fp16", "ieee"), ("fp16", "native")]
)
@pytest.mark.parametrize("gate", ["none", "model", "resets"])
def test_narrow_types(dtype: str, dot: str, gate: str, tmp_path: Path) -> None:
    check(CHUNK, TorchCase(K=64, gate=gate, dtype=dtype), tmp_path, dot=dot)
    check(TOKEN, TorchCase(B=3, T=1, K=64, gate=gate, dtype=dtype, op="decode"), tmp_path)


@pytest.mark.parametrize(("gate", "states"), list(product(GATES, (True, False))))
def test_one_token_and_several(gate: str, states: bool, tmp_path: Path) -> None:
    for T in (1, 5):
        check(TOKEN, TorchCase(T=T, gate=gate, states=states, op="decode"), tmp_path)


def test_a_decay_of_minus_infinity_forgets(tmp_path: Path) -> None:
    for spec in (CHUNK, TOKEN):
        case = TorchCase(T=40)
        case.inputs["g"][:, 20] = float("-inf")
        check(spec, case, tmp_path)


@pytest.mark.parametrize("case", [TorchCase(), PACKED], ids=["dense", "packed"])
def test_any_strides(case: TorchCase, tmp_path: Path) -> None:
    """A state given V first is read, not written, and inputs may be views."""
    for name in ("q", "k", "v"):
        case.inputs[name] = case.inputs[name].repeat(1, 1, 1, 2)[..., ::2].transpose(0, 1)
        case.inputs[name] = case.inputs[name].contiguous().transpose(0, 1)
    case.inputs["h0"] = case.inputs["h0"].mT.contiguous().mT
    case.inputs["beta"] = case.inputs["beta"].bfloat16()
    check(CHUNK, case, tmp_path)
    check(TOKEN, case, tmp_path)


def _rendered() -> dict[str, tuple[KernelSpec, TorchCase]]:
    """A kernel and a case by each distinct source."""
    found = {}
    flags = product(GATES_AND_DELTA, (False, True), (True, False), (None, (0, 40, 75)))
    for (gate, delta), vector, states, offsets in flags:
        facts = {"B": 1, "gate": gate, "delta": delta, "states": states, "offsets": offsets}
        facts["vector"] = vector
        for H, dtype in ((2, "bf16"), (4, "fp32")):
            case = TorchCase(H=H, dtype=dtype, **facts)  # type: ignore[arg-type]
            found[render(TOKEN, case.problem, {})] = (TOKEN, case)
            for solve, dot in product(("rows", "blocks"), ("ieee", "native")):
                if (dtype, dot) != ("fp32", "native"):
                    config = {"BT": 64, "AHEAD": 4, "solve": solve, "dot": dot}
                    found[render(case.spec, case.problem, config)] = (case.spec, case)
    return found


def test_rendered_files_look_written_by_hand() -> None:
    for source, (spec, case) in _rendered().items():
        arguments = spec.arguments(case.problem, spec.default(case.problem))
        assert_torch_file(source, spec.name, arguments)


def test_reasons() -> None:
    cpu, gpu = target_named("cpu"), target_named("h200")
    linear = TorchCase(delta=False).problem
    twin = {**CHUNK.default(linear), "solve": "rows"}
    assert "without the delta" in CHUNK.reasons(linear, twin, cpu)[0]
    for dtype in ("fp32", "bf16", "fp16"):
        problem = TorchCase(dtype=dtype).problem
        config = CHUNK.default(problem)
        for target in (cpu, gpu):
            assert CHUNK.reasons(problem, config, target) == []
            assert TOKEN.reasons(problem, TOKEN.default(problem), target) == []
            twin = {**config, "BT": 16, "solve": "rows"}
            assert "solve=rows" in CHUNK.reasons(problem, twin, target)[0]
        native = {**config, "dot": "native"}
        refused = {"fp32": (True, True), "bf16": (False, False), "fp16": (True, False)}[dtype]
        assert tuple(bool(CHUNK.reasons(problem, native, t)) for t in (cpu, gpu)) == refused
