"""Plan segmented as a whole, against the recurrence, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

import gdn_ops
from gdn_ops.codegen.axis import Value
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.rule import Rule
from gdn_ops.codegen.targets import target_named
from gdn_ops.codegen.variant import Variant
from gdn_ops.launch.launcher import Launcher
from gdn_ops.launch.packing import packing_of
from gdn_ops.verify.accuracy_gate import verify
from tests.close import assert_close
from tests.codegen.kernels.segment_case import call_of, launcher_of, walked
from tests.gdn_ops.ops.calls import call, expected

CASES: dict[str, dict[str, Any]] = {
    "three segments, the last one ragged": {"T": 133, "B": 2, "HV": 1},
    "exactly two segments, two key heads": {"T": 128, "H": 2, "HV": 4},
    "packed, some empty": {"T": 220, "H": 2, "offsets": [0, 0, 5, 5, 70, 199, 215]},
    "packed without states": {"T": 140, "offsets": [0, 3, 132], "state": False},
    "no gate": {"T": 133, "HV": 1, "gate": "none"},
    "never decays": {"T": 133, "HV": 1, "gate": "zero"},
    "decays at once": {"T": 133, "HV": 1, "gate": "strong"},
    "odd head dims": {"T": 75, "K": 60, "V": 100, "HV": 1},
    "odd head dims, three value heads of a key head": {"T": 75, "K": 100, "V": 20, "HV": 3},
    "half precision": {"T": 133, "HV": 1, "dtype": torch.float16},
    "bf16": {"T": 133, "HV": 1, "dtype": torch.bfloat16},
    "no tokens": {"T": 0, "B": 2},
}
PROBLEM = Problem(
    op="forward", H=2, HV=4, K=128, V=128, dtype="bf16", tokens=4096, sequences=1, final_state=True
)
H200 = target_named("h200")


def arguments_of(**facts: Any) -> dict[str, Any]:
    return call(**{"B": 1, "H": 1, "HV": 2, "V": 16, **facts})


def check(launcher: Launcher, arguments: dict[str, Any]) -> None:
    o_ref, ht_ref = expected(arguments)
    o, ht = launcher(call_of(arguments))
    bar = 1e-5 if o.dtype == torch.float32 else 5e-3
    cu = arguments["cu_seqlens"]
    end = o.shape[1] if cu is None else int(cu[-1])
    assert_close("o", o_ref[:, :end], o[:, :end], bar)
    assert not o[:, end:].any()
    if ht is not None:
        assert_close("final state", ht_ref, ht, bar)


@pytest.mark.triton
@pytest.mark.parametrize("name", CASES)
def test_segments_compute_the_rule(name: str) -> None:
    arguments = arguments_of(**CASES[name])
    check(launcher_of(arguments), arguments)


@pytest.mark.parametrize(
    ("stage", "axes"),
    [
        ("segment_map", {"loads": "descriptor", "BK": 32, "BV": 64}),
        ("segment_map", {"dot": "tf32x3"}),
        ("segment_map", {"LIMIT": 10}),
        ("segment_carry", {"BK": 32, "BV": 64, "merge_dot": "tf32x3"}),
        ("segment_bound", {"BK": 32}),
        ("segment_scan", {"layout": "VK", "loads": "descriptor"}),
    ],
)
def test_axes_of_the_stages(stage: str, axes: dict[str, Value]) -> None:
    arguments = arguments_of(T=150, K=48, V=80, HV=1, dtype=torch.float16)
    check(launcher_of(arguments, {stage: axes}), arguments)


def test_no_final_state() -> None:
    arguments = arguments_of(T=100, offsets=[0, 0, 90]) | {"output_final_state": False}
    check(launcher_of(arguments), arguments)


@pytest.mark.parametrize("offsets", [None, [0, 0, 70, 130]])
def test_one_segment_of_a_sequence_writes_its_final_state(offsets: list[int] | None) -> None:
    """Programs of the interpreter run in order, so that a last one alone would hide the others."""
    arguments = arguments_of(T=130, HV=1, offsets=offsets)
    found = walked(arguments, until="segment_scan")
    assert_close("final state", expected(arguments)[1], found["ht"], 1e-5)


def test_a_sequence_has_the_same_bits_alone_and_packed() -> None:
    packed = arguments_of(T=230, HV=1, offsets=[0, 70, 220])
    alone = {n: x[:, 70:220] for n, x in packed.items() if n in ("q", "k", "v", "g", "beta")}
    alone |= {"initial_state": packed["initial_state"][1:], "cu_seqlens": None}
    together = launcher_of(packed)(call_of(packed))
    one = {**packed, **alone}
    o, ht = launcher_of(one)(call_of(one))
    assert ht is not None and together[1] is not None
    assert torch.equal(together[0][:, 70:220], o)
    assert torch.equal(together[1][1:], ht)


def test_the_public_function_by_the_defaults() -> None:
    arguments = arguments_of(T=1100, HV=1, dtype=torch.float16)
    with gdn_ops.using("segmented"), torch.no_grad():
        o, ht = gdn_ops.chunk_gated_delta_rule(**arguments)
    o_ref, ht_ref = expected(arguments)
    assert ht is not None
    assert_close("o", o_ref, o, 5e-3)
    assert_close("final state", ht_ref, ht, 5e-3)


def test_the_accuracy_gate_has_cases_of_several_segments() -> None:
    problem = replace(PROBLEM, K=16, V=16, H=1, HV=1, dtype="fp16", varlen=True, sequences=4)
    variant = Variant.of("segmented", problem, {"BT": 16, "SEG": 4})
    verdict = verify(problem, variant, interpret=True)
    assert verdict.status == "ok", verdict.message
    assert "more than a segment, gate model" in [case.name for case in verdict.cases]


def test_tables_of_packed_segments() -> None:
    packing = packing_of(torch.tensor([0, 0, 5, 5, 70, 134]), 140)
    cu, of, first, count = packing.segments(64)
    assert cu.tolist() == [0, 0, 5, 5, 69, 70, 134]
    assert of.tolist() == [0, 1, 2, 3, 3, 4, 5]
    assert (first.tolist(), count) == ([0, 1, 2, 3, 5, 6], 6)
    assert packing.segments(64)[0] is cu


def reasons(problem: Problem, **interface: Value) -> list[str]:
    return Variant.of("segmented", problem, interface).reasons(problem, H200)


def test_segments_no_shorter_than_the_sequences_are_refused() -> None:
    assert reasons(PROBLEM, SEG=32) == []
    (reason,) = reasons(PROBLEM, SEG=64)
    assert reason == (
        "SEG=64 with BT=64 makes segments of 4096 tokens, and no sequence has more than 4096; "
        "use plan fused"
    )
    assert "more than 1024" in reasons(replace(PROBLEM, sequences=4))[0]
    assert reasons(replace(PROBLEM, sequences=4, varlen=True)) == []


def test_segments_shorter_than_their_state_are_refused() -> None:
    assert reasons(PROBLEM, BT=16, SEG=16) == []
    assert "smaller than M and h_local with K=128" in reasons(PROBLEM, BT=16, SEG=8)[0]


@pytest.mark.parametrize(
    ("stage", "axes", "dtype", "gate", "reason"),
    [
        ("segment_map", {"LIMIT": 10}, "bf16", "none", "LIMIT=10 is the same as LIMIT=20"),
        ("segment_map", {"LIMIT": 10}, "fp32", "scalar", "LIMIT=10 leaves out 5e-5"),
        (
            "segment_carry",
            {"merge_dot": "bf16x3"},
            "fp32",
            "scalar",
            "merge_dot=bf16x3 keeps 16 bits",
        ),
    ],
)
def test_axes_the_stages_refuse(
    stage: str, axes: dict[str, Value], dtype: str, gate: str, reason: str
) -> None:
    problem = replace(PROBLEM, dtype=dtype, rule=Rule(gate))
    assert Variant.default("segmented", problem).reasons(problem, H200) == []
    variant = Variant.of("segmented", problem, stages={stage: axes})
    (found,) = variant.reasons(problem, H200)
    assert reason in found


def test_what_the_plan_refuses() -> None:
    assert reasons(replace(PROBLEM, op="backward")) == []
    assert "one token per sequence" in reasons(replace(PROBLEM, op="decode"))[0]
    assert "delta rule" in reasons(replace(PROBLEM, rule=Rule("scalar", False)))[0]
    assert "keeps the decay in A" in reasons(PROBLEM, gate_free=True)[0]
