"""What a forward leaves for its backward: names, bytes, its own variant, or why it is nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.rule import Rule
from gdn_ops.codegen.saved_tensors import saved_names, saved_tensors_of
from gdn_ops.codegen.saving_cost import Kept, input_bytes, kept_by_choice
from gdn_ops.codegen.schedule import running
from gdn_ops.codegen.targets import target_named
from gdn_ops.codegen.variant import Variant

FORWARD = Problem(op="forward", H=16, HV=16, K=128, V=128, dtype="bf16", tokens=8192, sequences=1)
BACKWARD = FORWARD.backward(final_state=False)
SPLIT = Variant.default("split", FORWARD)
SPLIT_BACKWARD = Variant.default("split", BACKWARD)
H200 = target_named("h200")
ALL = ("gc", "A", "w", "h", "v_new")


def rows(forward: Variant, problem: Problem = FORWARD, **fixed: bool) -> dict[str, Kept]:
    gradients = problem.backward(final_state=False)
    backward = Variant.default("split", gradients)
    found = kept_by_choice(forward, problem, backward, gradients, H200, **fixed)
    return {row.keep: row for row in found}


def test_bytes_counted_by_hand() -> None:
    A, gc, w, v_new, h = 2 * 64, 4, 256, 256, 128 * 128 * 2 / 64
    kept = rows(SPLIT)
    assert [row.bytes for row in kept.values()] == [0, gc + A, gc + A + w + v_new + h]
    assert input_bytes(BACKWARD) == 3 * 256 + 4 + 4
    k, v, beta, g, u = 256, 256, 4, 4, 256
    cumsum, solve, wu = g + gc, k + beta + A, k + v + beta + A + gc + w + u
    state = k + w + u + gc + h + v_new
    moved = [row.moved for row in kept.values()]
    assert moved[0] is not None
    assert moved[1:] == [moved[0] - cumsum - solve, moved[0] - cumsum - solve - wu - state]


@pytest.mark.parametrize(
    ("rule", "inverse", "states"),
    [
        (Rule(), ("gc", "A"), ALL),
        (Rule("none"), ("A",), ("A", "w", "h", "v_new")),
        (Rule("scalar", False), ("gc",), ("gc", "h")),
    ],
)
def test_a_rule_hands_over_what_it_has(
    rule: Rule, inverse: tuple[str, ...], states: tuple[str, ...]
) -> None:
    problem = replace(FORWARD, rule=rule)
    kept = rows(Variant.default("split", problem), problem)
    assert [row.saved.names for row in kept.values()] == [(), inverse, states]


def test_the_forward_takes_the_interface_of_the_backward() -> None:
    forward = Variant.of("split", FORWARD, {"BT": 32}, {"chunk_h": {"num_warps": 8}})
    left = saved_tensors_of("states", forward, FORWARD, SPLIT_BACKWARD, BACKWARD, H200)
    assert left.forward == Variant.of("split", FORWARD, {}, {"chunk_h": {"num_warps": 8}})
    assert left.names == ALL
    assert (
        saved_tensors_of("inputs", forward, FORWARD, SPLIT_BACKWARD, BACKWARD, H200).forward
        == forward
    )


def test_a_stage_whose_config_cannot_run_then_takes_its_default() -> None:
    forward = Variant.of("split", FORWARD, {"BT": 16}, {"solve": {"NC": 1, "solve": "doubling"}})
    assert not forward.reasons(FORWARD, H200)
    left = saved_tensors_of("inverse", forward, FORWARD, SPLIT_BACKWARD, BACKWARD, H200)
    assert left.forward == SPLIT and left.names == ("gc", "A")


def test_another_plan_hands_over_what_both_have() -> None:
    fused = Variant.default("fused", FORWARD)
    left = saved_tensors_of("states", fused, FORWARD, SPLIT_BACKWARD, BACKWARD, H200)
    assert left.names == ("gc", "A")
    assert left.forward == Variant.of("fused", FORWARD, {"gate_free": True})
    ungated = replace(FORWARD, rule=Rule("none"))
    fused = Variant.default("fused", ungated)
    kept = rows(fused, ungated)["states"].saved
    assert (kept.forward, kept.names) == (fused, ("A",))  # no gate that A could be free of


@pytest.mark.parametrize("axis", [{"BT": 32}, {"store": "fp32"}, {"gate_free": False}])
def test_tensors_of_another_interface_are_never_read(axis: dict[str, object]) -> None:
    forward = Variant.of("split", FORWARD, axis)
    names = saved_names("states", forward, FORWARD, SPLIT_BACKWARD, BACKWARD)
    assert "A" not in names and ("gc" in names) == ("BT" not in axis)


def test_what_a_later_stage_writes_again_is_not_handed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = replace(KERNELS["bwd_dv_local"], outputs=lambda problem, config: ("dv_local", "w"))
    monkeypatch.setitem(KERNELS, "bwd_dv_local", spec)
    saved_names.cache_clear()
    names = saved_names("states", SPLIT, FORWARD, SPLIT_BACKWARD, BACKWARD)
    saved_names.cache_clear()
    assert names == ("gc", "A", "h", "v_new")


@pytest.mark.parametrize(
    ("forward", "fixed", "why"),
    [
        (Variant.default("recurrent", FORWARD), False, "computes nothing that the backward"),
        (Variant.default("torch", FORWARD), False, "torch_chunk of plan torch"),
        (Variant.of("split", FORWARD, {"BT": 32}), True, "must run as split BT=32"),
    ],
)
def test_what_cannot_be_kept_is_told(forward: Variant, fixed: bool, why: str) -> None:
    row = rows(forward, fixed=fixed)["states"]
    assert row.saved.forward == forward and not row.saved.names and not row.bytes
    assert why in str(row)


def test_a_forward_that_the_target_refuses_is_not_taken() -> None:
    store = Variant.of("split", FORWARD, {"store": "fp32"})
    single = replace(FORWARD, dtype="fp32")
    backward = Variant.of("split", single.backward(final_state=False), {"store": "fp32"})
    gradients = single.backward(final_state=False)
    left = saved_tensors_of(
        "states", Variant.default("split", single), single, backward, gradients, H200
    )
    assert not left.names and "store=fp32 is the same as store=io" in left.why
    assert store.reasons(single, H200)


def test_stages_that_nothing_asked_for_depends_on_do_not_run() -> None:
    def stages(*wanted: str) -> tuple[str, ...]:
        return running(SPLIT_BACKWARD, BACKWARD, (), wanted)

    everything = tuple(name for name, _ in SPLIT_BACKWARD.stages)
    assert running(SPLIT_BACKWARD, BACKWARD) == everything
    assert stages("dq", "dk", "dv", "dbeta") == everything[:-1]
    initial = replace(BACKWARD, initial_state=True)
    alone = running(Variant.default("split", initial), initial, (), ("dh0",))
    assert alone == ("gate_cumsum", "solve", "chunk_wu", "bwd_dv_local", "bwd_dh")
