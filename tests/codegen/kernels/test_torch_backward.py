"""Stages torch_backward, of every rule, against autograd of the recurrence in fp64."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize

from gdn_ops.codegen.axis import Value
from gdn_ops.codegen.kernels import torch_backward
from gdn_ops.codegen.module_cache import load_module
from gdn_ops.codegen.render import render
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.targets import target_named
from tests.close import assert_close
from tests.codegen.kernels.split_case import torch_dtype
from tests.codegen.kernels.torch_case import TorchCase
from tests.codegen.rendered_source import assert_torch_file

SPEC = torch_backward.SPEC
PACKED = (0, 0, 15, 16, 16, 50, 70)
GATES = ("none", "open", "model", "strong", "resets", "raw")
AXES = [(axis.name, value) for axis in SPEC.axes for value in axis.values]
SUMS = ("dg", "dA_log", "ddt_bias", "dbeta")
BARS = {"fp32": (1e-5, 1e-5), "bf16": (0.008, 0.02)}
pytestmark = pytest.mark.filterwarnings("error")


def backward(**facts: object) -> TorchCase:
    """A case of the gradients."""
    return TorchCase(**{"op": "backward", **facts})  # type: ignore[arg-type]


def check(case: TorchCase, folder: Path, spec: KernelSpec | None = None, **axes: Value) -> None:
    """Compare every gradient with autograd's; inputs stay as they are, tokens of nobody get 0.

    spec: the stage; by default that of plan torch.
    """
    spec = spec or case.spec
    given = {**case.inputs, **case.cotangents}
    before = {name: value.clone() for name, value in given.items()}
    with torch.no_grad():
        found = case.run(spec, folder, **axes)
    expected = case.expected_gradients()
    inputs = [name for name in spec.inputs(case.problem, {}) if name not in ("do", "dht")]
    assert list(found) == [f"d{name}" for name in inputs if name != "offsets"]
    io = torch_dtype(case.dtype)
    for name, value in found.items():
        assert_close(name, expected[name], value, BARS[case.dtype][name in SUMS])
        assert value.is_contiguous()
        assert value.dtype is (io if name in ("dq", "dk", "dv") else torch.float32), name
        if case.offsets is not None and name in ("dq", "dk", "dv", "dg", "dbeta"):
            assert not value[:, case.offsets[-1] :].any(), name
    for name, value in given.items():
        assert torch.equal(value.nan_to_num(), before[name].nan_to_num()), name


@pytest.mark.parametrize(("name", "value"), AXES)
@pytest.mark.parametrize("offsets", [None, PACKED], ids=["dense", "packed"])
def test_every_axis_value(
    name: str, value: Value, offsets: tuple[int, ...] | None, tmp_path: Path
) -> None:
    B = 2 if offsets is None else 1
    dtype, K = ("bf16", 64) if value == "native" else ("fp32", 16)
    check(backward(B=B, K=K, offsets=offsets, dtype=dtype), tmp_path, **{name: value})


@pytest.mark.parametrize(("solve", "gate"), list(product(("rows", "blocks"), GATES)))
def test_gates(solve: str, gate: str, tmp_path: Path) -> None:
    check(backward(gate=gate), tmp_path, BT=32, solve=solve)
    check(backward(gate=gate, T=150, H=4, states=False, bias=False), tmp_path, solve=solve)


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("states", [True, False])
def test_packed_sequences_of_every_gate(gate: str, states: bool, tmp_path: Path) -> None:
    check(backward(B=1, offsets=PACKED, gate=gate, states=states), tmp_path, BT=16)
    check(backward(B=1, H=4, offsets=PACKED, gate=gate, states=states, bias=False), tmp_path)


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("offsets", [None, PACKED], ids=["dense", "packed"])
def test_without_the_delta(gate: str, offsets: tuple[int, ...] | None, tmp_path: Path) -> None:
    facts = {"B": 2 if offsets is None else 1, "gate": gate, "delta": False, "offsets": offsets}
    check(backward(**facts), tmp_path, BT=16)
    check(backward(**facts, H=4, states=False, bias=False), tmp_path)
    for dot in ("ieee", "native"):
        check(backward(**facts, K=64, dtype="bf16"), tmp_path, dot=dot)


@pytest.mark.parametrize(
    "offsets", [(0, 75), (0, 0, 0, 1), (0, 64, 75), (0, 1, 2, 3, 40, 40), (0, 5, 70, 71)]
)
def test_packed_sequences(offsets: tuple[int, ...], tmp_path: Path) -> None:
    check(backward(B=1, offsets=offsets), tmp_path, BT=16, AHEAD=16)


def test_sequences_without_a_token(tmp_path: Path) -> None:
    case = backward(B=1, offsets=(0, 0))
    found = case.run(case.spec, tmp_path)
    assert torch.equal(found.pop("dh0"), case.cotangents["dht"])
    assert all(not value.any() for value in found.values())


@pytest.mark.parametrize("T", [1, 15, 16, 64, 129])
def test_lengths(T: int, tmp_path: Path) -> None:
    check(backward(T=T), tmp_path, BT=16)
    check(backward(T=T, states=False), tmp_path)


def test_no_tokens(tmp_path: Path) -> None:
    case = backward(T=0)
    found = case.run(case.spec, tmp_path)
    assert torch.equal(found["dh0"], case.cotangents["dht"])
    assert found["dq"].shape == case.inputs["q"].shape


@pytest.mark.parametrize(
    ("H", "HV", "K", "V"),
    [(1, 1, 16, 16), (1, 3, 60, 100), (2, 2, 256, 20), (1, 2, 1, 256), (4, 4, 100, 60)],
)
def test_heads(H: int, HV: int, K: int, V: int, tmp_path: Path) -> None:
    for offsets in (None, (0, 30, 75)):
        check(backward(B=1, H=H, HV=HV, K=K, V=V, offsets=offsets), tmp_path, BT=32)
    check(backward(B=1, H=H, HV=HV, K=K, V=V, gate="none"), tmp_path, BT=32)


@pytest.mark.parametrize(
    ("gate", "dtype", "offsets"),
    [("raw", "fp32", None), ("none", "fp32", PACKED), ("model", "bf16", PACKED)],
)
def test_heads_in_groups(
    gate: str,
    dtype: str,
    offsets: tuple[int, ...] | None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Two query heads at once for each of two threads: six heads are three and three."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    B, dot = 2 if offsets is None else 1, "ieee" if dtype == "fp32" else "native"
    case = backward(B=B, H=6, HV=12, K=32, gate=gate, dtype=dtype, offsets=offsets)
    check(case, tmp_path, HEADS=2, BT=16, dot=dot)
    config = {**case.spec.default(case.problem), "HEADS": 2}
    module = load_module(case.spec.name, render(case.spec, case.problem, config), tmp_path)
    assert module.heads_at_once(case.inputs["q"]) == 3
    assert module.heads_at_once(case.inputs["q"].to("meta")) == 6


@pytest.mark.parametrize("gate", ["none", "open", "model"])
def test_writing_strength_near_two_and_repeated_keys(gate: str, tmp_path: Path) -> None:
    check(backward(T=150, K=64, gate=gate, beta=2.0), tmp_path)
    case = backward(T=70, K=64, gate=gate)
    case.inputs["k"] = case.inputs["k"][:, :1].expand(-1, 70, -1, -1)
    check(case, tmp_path)
    similar = case.inputs["k"] + 0.03 * torch.randn(2, 70, 2, 64)
    case.inputs["k"] = normalize(similar, dim=-1)
    check(case, tmp_path)


@pytest.mark.parametrize("gate", GATES)
def test_narrow_types(gate: str, tmp_path: Path) -> None:
    for dot in ("ieee", "native"):
        check(backward(T=150, K=64, V=64, gate=gate, dtype="bf16"), tmp_path, dot=dot)
    check(backward(B=1, K=64, offsets=PACKED, gate=gate, dtype="bf16"), tmp_path)


def test_gradients_of_gates_that_let_nothing_pass(tmp_path: Path) -> None:
    """No difference of large sums is left where a gate's gradient is tiny."""
    case = backward(T=70)
    case.inputs["g"][:] = -40.0
    check(case, tmp_path)
    assert case.expected_gradients()["dg"].abs().max() < 1e-14
    found = case.run(case.spec, tmp_path)["dg"]
    assert_close("dg", case.expected_gradients()["dg"] * 1e16, found * 1e16, 1e-5)


def test_a_decay_of_minus_infinity_forgets(tmp_path: Path) -> None:
    case = backward(T=40)
    case.inputs["g"][:, 20] = float("-inf")
    found = case.run(case.spec, tmp_path)
    case.inputs["g"][:, 20] = -500.0
    for name, value in case.expected_gradients().items():
        if name in found:
            assert_close(name, value, found[name], 1e-5)


@pytest.mark.parametrize("offsets", [None, PACKED], ids=["dense", "packed"])
def test_any_strides(offsets: tuple[int, ...] | None, tmp_path: Path) -> None:
    case = backward(B=1, offsets=offsets)
    for given, name in product((case.inputs, case.cotangents), ("q", "k", "v", "do")):
        if name in given:
            doubled = given[name].repeat(1, 1, 1, 2)[..., ::2].transpose(1, 2)
            given[name] = doubled.contiguous().transpose(1, 2)
    case.inputs["h0"] = case.inputs["h0"].mT.contiguous().mT
    case.cotangents["dht"] = case.cotangents["dht"].mT.contiguous().mT
    check(case, tmp_path)


def _rendered() -> dict[str, TorchCase]:
    """A case by each distinct source."""
    found = {}
    gates, deltas = ("none", "model", "raw"), (True, False)
    flags = product(gates, deltas, (True, False), (None, (0, 40, 75)), (False, True))
    for flag, (H, dtype) in product(flags, ((2, "bf16"), (4, "fp32"))):
        names = ("gate", "delta", "states", "offsets", "vector")
        facts = dict(zip(names, flag, strict=True))
        case = backward(B=1, H=H, dtype=dtype, **facts)
        for solve, dot in product(("rows", "blocks"), ("ieee", "native")):
            if (dtype, dot) != ("fp32", "native"):
                axes: dict[str, Value] = {"BT": 64, "AHEAD": 4, "solve": solve, "dot": dot}
                config = {**case.spec.default(case.problem), **axes}
                found[render(case.spec, case.problem, config)] = case
    return found


def test_rendered_files_look_written_by_hand() -> None:
    for source, case in _rendered().items():
        spec = case.spec
        arguments = spec.arguments(case.problem, spec.default(case.problem))
        assert_torch_file(source, spec.name, arguments)


def test_reasons() -> None:
    problem = backward(dtype="fp16").problem
    config = {**SPEC.default(problem), "dot": "native"}
    assert "use dot=ieee" in SPEC.reasons(problem, config, target_named("cpu"))[0]
    assert SPEC.reasons(problem, config, target_named("h200")) == []
