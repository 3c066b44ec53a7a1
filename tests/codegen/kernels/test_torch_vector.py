"""The stages in plain PyTorch where every key channel decays on its own, against fp64."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize

from gdn_ops.codegen.kernels import torch_backward_vector, torch_chunk_vector, torch_recurrent
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.targets import target_named
from tests.close import assert_close
from tests.codegen.kernels.test_torch_backward import check as check_gradients
from tests.codegen.kernels.test_torch_templates import check
from tests.codegen.kernels.torch_case import TorchCase

CHUNK, TOKEN = torch_chunk_vector.SPEC, torch_recurrent.SPEC
BACKWARD = torch_backward_vector.SPEC
PACKED = (0, 0, 15, 16, 16, 50, 70)
GATES = ("open", "model", "strong", "resets", "raw")
pytestmark = pytest.mark.filterwarnings("error")


def vector(**facts: object) -> TorchCase:
    """A case whose gate has a value a key channel."""
    offsets = facts.get("offsets")
    return TorchCase(**{"vector": True, "B": 1 if offsets else 2, **facts})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("gate", "delta", "offsets"), list(product(GATES, (True, False), (None, PACKED)))
)
def test_gates(gate: str, delta: bool, offsets: tuple[int, ...] | None, tmp_path: Path) -> None:
    for H, BT, states in ((2, 16, True), (4, 64, False)):
        facts = {"gate": gate, "delta": delta, "offsets": offsets, "H": H, "states": states}
        check(CHUNK, vector(**facts, bias=states), tmp_path, BT=BT)
        check(TOKEN, vector(**facts, bias=states), tmp_path)


@pytest.mark.parametrize(
    ("gate", "delta", "offsets"), list(product(GATES, (True, False), (None, PACKED)))
)
def test_gradients(gate: str, delta: bool, offsets: tuple[int, ...] | None, tmp_path: Path) -> None:
    for H, BT, states in ((2, 16, True), (4, 64, False)):
        facts = {"gate": gate, "delta": delta, "offsets": offsets, "H": H, "states": states}
        check_gradients(vector(**facts, bias=states, op="backward"), tmp_path, BT=BT)


@pytest.mark.parametrize("solve", ["rows", "blocks"])
def test_every_axis_value(solve: str, tmp_path: Path) -> None:
    for BT, AHEAD in ((16, 64), (32, 1), (128, 16)):
        axes = {"solve": solve, "BT": BT, "AHEAD": AHEAD}
        check(CHUNK, vector(T=150, beta=2.0, K=64), tmp_path, **axes)
        check_gradients(vector(T=150, op="backward"), tmp_path, **axes)


@pytest.mark.parametrize("T", [0, 1, 15, 64, 129])
def test_lengths(T: int, tmp_path: Path) -> None:
    check(CHUNK, vector(T=T), tmp_path, BT=16)
    if T:
        check_gradients(vector(T=T, op="backward"), tmp_path, BT=16)


@pytest.mark.parametrize("offsets", [(0, 75), (0, 0), (0, 0, 0, 1), (0, 1, 2, 40, 40)])
def test_packed_sequences(offsets: tuple[int, ...], tmp_path: Path) -> None:
    for delta in (True, False):
        check(CHUNK, vector(offsets=offsets, delta=delta), tmp_path, BT=16)
        check(TOKEN, vector(offsets=offsets, delta=delta), tmp_path)
        if offsets[-1]:
            case = vector(offsets=offsets, delta=delta, op="backward")
            check_gradients(case, tmp_path, BT=16)


@pytest.mark.parametrize(
    ("H", "HV", "K", "V"), [(1, 1, 16, 16), (1, 3, 60, 100), (1, 2, 1, 256), (4, 4, 100, 60)]
)
def test_heads(H: int, HV: int, K: int, V: int, tmp_path: Path) -> None:
    case = {"B": 1, "H": H, "HV": HV, "K": K, "V": V}
    check(CHUNK, vector(**case), tmp_path, BT=32)
    check(TOKEN, vector(**case), tmp_path)
    check_gradients(vector(**case, op="backward"), tmp_path, BT=32)


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_narrow_types(dtype: str, tmp_path: Path) -> None:
    for gate in ("model", "resets"):
        check(CHUNK, vector(K=64, gate=gate, dtype=dtype), tmp_path)
        check(TOKEN, vector(B=3, T=1, K=64, gate=gate, dtype=dtype, op="decode"), tmp_path)
    check_gradients(vector(T=150, K=64, V=64, dtype="bf16", op="backward"), tmp_path)


def test_one_channel_may_forget_what_another_keeps(tmp_path: Path) -> None:
    for spec, op in ((CHUNK, "forward"), (TOKEN, "decode"), (BACKWARD, "backward")):
        case = vector(T=70, op=op)
        case.inputs["g"][:] = 0.0
        case.inputs["g"][..., ::2] = -300.0
        case.inputs["g"][:, 20, :, 1] = float("-inf") if op != "backward" else -500.0
        if op == "backward":
            check_gradients(case, tmp_path)
        else:
            check(spec, case, tmp_path)


def test_gradients_of_gates_that_let_nothing_pass(tmp_path: Path) -> None:
    """No difference of large sums is left where a gate's gradient is tiny."""
    case = vector(T=70, op="backward")
    case.inputs["g"][:] = -40.0
    wanted = case.expected_gradients()["dg"]
    assert wanted.abs().max() < 1e-14
    assert_close("dg", wanted * 1e16, case.run(BACKWARD, tmp_path)["dg"] * 1e16, 1e-5)


def test_repeated_keys(tmp_path: Path) -> None:
    case = vector(T=70, K=64, beta=2.0, op="backward")
    similar = case.inputs["k"][:, :1] + 0.03 * torch.randn(2, 70, 2, 64)
    case.inputs["k"] = normalize(similar, dim=-1)
    check_gradients(case, tmp_path)


def test_inputs_of_one_head_and_one_chunk_are_not_written_to(tmp_path: Path) -> None:
    """Their layout is already that of a chunk, so that a view would be worked on in place."""
    case = vector(B=1, T=64, H=1, HV=1)
    check(CHUNK, case, tmp_path, BT=64)
    check_gradients(vector(B=1, T=64, H=1, HV=1, op="backward"), tmp_path, BT=64)


def test_products_in_the_type_of_the_inputs_are_refused() -> None:
    problem, cpu = vector(dtype="bf16").problem, target_named("cpu")
    assert PLANS["torch"].reasons(problem, {}, cpu) == []
    for spec in (CHUNK, BACKWARD):
        native = {**spec.default(problem), "dot": "native"}
        assert "use dot=ieee" in spec.reasons(problem, native, cpu)[0]
        assert spec.reasons(problem, spec.default(problem), cpu) == []
