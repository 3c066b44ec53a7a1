"""Plan split with a gate a key channel, against the recurrence token by token in fp64."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest

from gdn_ops.codegen.axis import Value, defaults
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.targets import target_named
from gdn_ops.codegen.traffic import variant_bytes
from gdn_ops.codegen.variant import Variant
from tests.close import assert_close
from tests.codegen.kernels.split_case import SplitCase
from tests.codegen.kernels.vector_case import PLAN, expected, raw_gate, run_plan, vector_inputs

CASE = SplitCase(T=23, K=20, V=24, vector=True)
BARS = {"fp32": 1e-5, "fp16": 0.005, "bf16": 0.005}
FORWARD = ("gate_cumsum", "chunk_scores", "solve", "chunk_wu", "chunk_h", "chunk_o")
pytestmark = pytest.mark.filterwarnings("error")  # an exp that overflows, even if masked later


def check(case: SplitCase, folder: Path, *, raw: bool = False, **run: Any) -> dict[str, Any]:
    """Run the forward and compare what it returns; tokens of no sequence are not written."""
    problem = raw_gate(case.problem) if raw else case.problem
    x = vector_inputs(case, raw=raw)
    out = run_plan(problem, case, x, folder, **run)
    reference = expected(case, x)
    bar = BARS[case.dtype]
    assert_close("o", reference["o"], out["o"][:, : case.covered], bar)
    assert out["o"][:, case.covered :].isnan().all()
    if case.final_state:
        assert_close("ht", reference["ht"], out["ht"], bar)
    return out


def shaping(stages: tuple[str, ...]) -> list[tuple[str, str, Value]]:
    """Every axis value but the default that shapes the source of a stage."""
    return [
        (stage, axis.name, value)
        for stage in stages
        for axis in KERNELS[stage].axes
        for value in axis.values
        if not axis.launch and value != axis.default
    ]


@pytest.mark.parametrize(("stage", "name", "value"), shaping(("gate_cumsum", "chunk_scores")))
def test_every_axis_value(stage: str, name: str, value: Value, tmp_path: Path) -> None:
    dtype = "fp16" if value in ("native", "tf32") else "fp32"
    check(CASE.with_(K=100, B=1, dtype=dtype), tmp_path, axes={stage: {name: value}})


@pytest.mark.triton
@pytest.mark.parametrize(("dtype", "layout"), [("bf16", "KV"), ("bf16", "VK"), ("fp32", "VK")])
@pytest.mark.parametrize("delta", [True, False])
def test_every_shape_of_the_code(delta: bool, dtype: str, layout: str, tmp_path: Path) -> None:
    case = CASE.with_(K=48, V=80, dtype=dtype, B=1, T=37, offsets=(0, 9, 9, 35), delta=delta)
    tiles: dict[str, Value] = {"loads": "descriptor", "BK": 32, "BV": 32}
    stages = ("chunk_wu", "chunk_h", "chunk_o") if delta else ("chunk_h", "chunk_o")
    axes = {stage: dict(tiles) for stage in stages}
    axes["chunk_h"]["layout"] = layout
    check(case, tmp_path, axes=axes)


@pytest.mark.parametrize("delta", [True, False])
@pytest.mark.parametrize("gate", ["zero", "strong", "wild"])
def test_gates(gate: str, delta: bool, tmp_path: Path) -> None:
    check(CASE.with_(gate=gate, delta=delta, BT=32, T=40, B=1), tmp_path)


def test_raw_gates_are_activated(tmp_path: Path) -> None:
    check(CASE.with_(B=1, H=2, HV=4), tmp_path, raw=True)


@pytest.mark.parametrize(("K", "V"), [(60, 100), (256, 16), (128, 256)])
def test_head_dims(K: int, V: int, tmp_path: Path) -> None:
    check(CASE.with_(K=K, V=V, B=1, HV=1, T=20), tmp_path)


@pytest.mark.parametrize("T", [1, 16, 17])
def test_ragged_lengths(T: int, tmp_path: Path) -> None:
    check(CASE.with_(T=T, B=2, initial_state=False), tmp_path)


@pytest.mark.parametrize("BT", [32, 64, 128])
def test_chunk_sizes(BT: int, tmp_path: Path) -> None:
    check(CASE.with_(BT=BT, T=BT + 7, B=1, HV=1), tmp_path)


@pytest.mark.triton
def test_packed_sequences_of_which_some_are_empty(tmp_path: Path) -> None:
    case = CASE.with_(B=1, T=40, offsets=(0, 0, 21, 21, 34), final_state=False)
    check(case, tmp_path, raw=True)


@pytest.mark.triton
def test_16_bits_of_model_heads(tmp_path: Path) -> None:
    case = CASE.with_(B=1, T=130, HV=1, K=128, V=128, BT=64, dtype="bf16")
    check(case, tmp_path)


def test_store_fp32_is_read_in_full(tmp_path: Path) -> None:
    axes = {stage: {"dot": "ieee"} for stage in FORWARD[1:]}
    case = CASE.with_(dtype="bf16", gate="strong")
    out = check(case, tmp_path, interface={"store": "fp32"}, axes=axes)
    assert_close("ht", expected(case, vector_inputs(case))["ht"], out["ht"], 1e-5)


def test_the_lower_matrices_are_zero_where_nothing_is_read(tmp_path: Path) -> None:
    out = check(CASE.with_(B=1, T=40, offsets=(0, 21, 37)), tmp_path)
    for name, first in (("P", 1), ("L", 0)):
        rows = out[name][0, 0:16].transpose(0, 1)
        assert (rows.triu(first) == 0).all()
        assert (rows.tril(first - 1) != 0).any()
        assert out[name][:, 37:].isnan().all()


@pytest.mark.parametrize("target", ["a100", "h200", "b200", "mi300x"])
@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
def test_one_value_of_what_a_vector_gate_leaves_idle(dtype: str, target: str) -> None:
    problem = CASE.with_(K=128, V=128, dtype=dtype).problem
    solve, device = KERNELS["solve"], target_named(target)
    for store in ("io", "fp32") if dtype == "bf16" else ("io",):
        shared = {**defaults(PLAN.axes), "store": store}
        usual = solve.default(problem)
        kept = [
            dot for dot in ("ieee", "tf32", "tf32x3", "native")
            if not solve.reasons(problem, {**shared, **usual, "dot": dot}, device)
        ]  # fmt: skip
        assert len(kept) == 1, (store, kept)
    for change in ({"BK": 16}, {"loads": "descriptor"}, {"heads": "group"}, {"num_stages": 3}):
        assert solve.reasons(problem, {**shared, **usual, **change}, device)


@pytest.mark.parametrize("target", ["a100", "h200", "b200", "mi300x"])
@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
def test_the_default_is_never_refused(dtype: str, target: str) -> None:
    for dim, delta in product((16, 60, 128, 256), (True, False)):
        forward = CASE.with_(K=dim, V=dim, dtype=dtype, delta=delta).problem
        for problem in (forward, forward.backward(final_state=True)):
            variant = Variant.default("split", problem)
            assert variant.reasons(problem, target_named(target)) == []


def test_the_bytes_of_the_docs() -> None:
    text = (Path(__file__).parents[3] / "docs" / "maths.md").read_text()
    case = CASE.with_(H=16, HV=16, K=128, V=128, dtype="bf16", final_state=False)
    forward = case.with_(initial_state=False).problem
    for problem in (forward, forward.backward(final_state=False)):
        moved = variant_bytes(Variant.default("split", problem), problem)
        assert f"{moved:.0f} B" in text


def test_a_vector_gate_is_never_taken_out_of_the_inverse() -> None:
    problem, device = CASE.problem, target_named("h200")
    assert Variant.default("split", problem).reasons(problem, device) == []
    variant = Variant.of("split", problem, {"gate_free": False})
    assert "vector gate" in variant.reasons(problem, device)[0]
