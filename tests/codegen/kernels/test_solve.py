"""Stage solve alone, against triangular solves in fp64 on the keys it was given."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
import torch

from gdn_ops.codegen.axis import Value
from gdn_ops.codegen.kernels.solve import SPEC
from gdn_ops.codegen.targets import target_named
from tests.close import assert_close
from tests.codegen.kernels.split_case import SplitCase
from tests.codegen.kernels.wy import BARS, INTERFACE, hard_keys, inverse_of, run, with_gc

CASE = SplitCase(B=1, T=80, K=32, BT=64)
AXES = [(axis.name, value) for axis in SPEC.axes if not axis.launch for value in axis.values]
H200 = target_named("h200")
pytestmark = pytest.mark.filterwarnings("error")  # an exp that overflows, even if masked later


def check(
    case: SplitCase, folder: Path, *, x: dict[str, torch.Tensor] | None = None, **axes: Value
) -> torch.Tensor:
    """Run the stage and compare all columns of the rows it must write; it writes no others."""
    x = with_gc(case, case.inputs() if x is None else x)
    A = run(SPEC, case, x, folder, **axes)["A"]
    expected = inverse_of(case, x, gate_free=bool(axes.get("gate_free", True)))
    covered = slice(0, case.covered)
    assert_close("A", expected[:, covered], A[:, covered], BARS[case.dtype])
    assert (A[:, covered][expected[:, covered] == 0] == 0).all()
    assert A[:, case.covered :].isnan().all()
    return A


@pytest.mark.parametrize(("name", "value"), AXES)
def test_every_axis_value(name: str, value: Value, tmp_path: Path) -> None:
    dtype = "fp16" if value == "native" else "fp32"
    check(CASE.with_(K=100, dtype=dtype), tmp_path, **{name: value})


BLOCKS = [(16, 1), (32, 1), (64, 1), (32, 2), (64, 2), (128, 4)]


@pytest.mark.parametrize(
    ("solve", "BT", "NC"),
    [
        (solve, BT, NC)
        for solve, (BT, NC) in product(["rows", "blocks", "doubling"], BLOCKS)
        if solve != "blocks" or BT // NC > 16  # refused: rows do it
    ],
)
def test_hard_keys_are_solved_in_every_way(solve: str, BT: int, NC: int, tmp_path: Path) -> None:
    case = CASE.with_(BT=BT, T=BT, HV=1)
    check(case, tmp_path, x=hard_keys(case), solve=solve, NC=NC)


@pytest.mark.parametrize("gate", ["none", "zero", "strong", "wild"])
def test_gates(gate: str, tmp_path: Path) -> None:
    check(CASE.with_(gate=gate), tmp_path, gate_free=gate == "none")


@pytest.mark.parametrize(("heads", "solve"), list(product(["one", "group"], ["rows", "doubling"])))
@pytest.mark.parametrize(("H", "HV"), [(1, 3), (2, 4), (2, 2)])
def test_value_heads_share_a_key_head(
    H: int, HV: int, heads: str, solve: str, tmp_path: Path
) -> None:
    case = CASE.with_(H=H, HV=HV, B=2, T=40, BT=32)
    check(case, tmp_path, heads=heads, solve=solve, gate_free=False)


@pytest.mark.parametrize("loads", ["pointer", "descriptor"])
@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_16_bit_in_every_shape_of_the_code(dtype: str, loads: str, tmp_path: Path) -> None:
    case = CASE.with_(H=2, HV=4, K=48, dtype=dtype, offsets=(0, 9, 9, 75), T=77)
    check(case, tmp_path, loads=loads, BK=32, heads="group", gate_free=False)


@pytest.mark.parametrize("K", [16, 60, 64, 128, 256])
def test_head_dims(K: int, tmp_path: Path) -> None:
    check(CASE.with_(K=K, T=20, BT=16), tmp_path)


@pytest.mark.parametrize("T", [1, 15, 16, 17, 33])
def test_ragged_lengths(T: int, tmp_path: Path) -> None:
    check(CASE.with_(T=T, B=2, BT=32), tmp_path)


def test_packed_sequences_of_which_some_are_empty(tmp_path: Path) -> None:
    check(CASE.with_(BT=32, T=60, offsets=(0, 0, 41, 41, 57)), tmp_path, gate_free=False)


def test_store_fp32_keeps_what_16_bits_would_round(tmp_path: Path) -> None:
    case = CASE.with_(dtype="bf16", BT=32, T=32)
    A = check(case, tmp_path, store="fp32", dot="tf32")
    assert A.dtype == torch.float32
    expected = inverse_of(case, with_gc(case, case.inputs()), gate_free=True)
    assert_close("A", expected, A, 1e-5)


@pytest.mark.parametrize(
    ("axes", "reason"),
    [
        (
            {"BT": 32, "NC": 1, "solve": "rows", "merge_dot": "tf32"},
            "solve=rows of one block has no",
        ),
        ({"BT": 16, "NC": 2}, "NC=1 for chunks of 16"),
        ({"NC": 4, "solve": "blocks"}, "solve=rows for blocks of 16"),
        ({"NC": 1, "solve": "doubling"}, "use tf32x3"),
        ({"BT": 128, "NC": 2}, "use tf32x3"),
        ({"BT": 128, "NC": 1, "solve": "blocks"}, "use NC=2"),
        ({"BT": 128, "num_warps": 1}, "num_warps=1 and h200 has 255; use more warps"),
        ({"heads": "group"}, "HV = H"),
        ({"dot": "tf32x3"}, "the same as dot=tf32"),
        ({"BK": 128, "num_stages": 3}, "no loop to pipeline"),
    ],
)
def test_refusals_name_what_to_change(axes: dict[str, Value], reason: str) -> None:
    problem = CASE.with_(H=2, HV=2, K=128, V=128, dtype="bf16").problem
    config = {**INTERFACE, **SPEC.default(problem), **axes}
    assert reason in " ".join(SPEC.reasons(problem, config, H200))


@pytest.mark.parametrize("target", ["a100", "h200", "b200", "mi300x"])
@pytest.mark.parametrize(("K", "BT"), list(product([16, 60, 128, 256], [16, 32, 64, 128])))
def test_the_default_is_never_refused(K: int, BT: int, target: str) -> None:
    for dtype in ("bf16", "fp32"):
        problem = CASE.with_(K=K, dtype=dtype).problem
        config = {**INTERFACE, **SPEC.default(problem), "BT": BT}
        assert SPEC.reasons(problem, config, target_named(target)) == []
