"""Which changes of figures fail, improve, or only show."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from gdn_ops.tuner.check.states import State
from gdn_ops.tuner.check.static.cause import cause, joined
from gdn_ops.tuner.check.static.rows import compared, facts_of
from gdn_ops.tuner.check.static.rules import RULES, Limits, differing, rule_of
from gdn_ops.tuner.spaces.workloads import pool, prefill

BASE = {"instructions": 1000, "registers": 96, "resident warps": 16, "stack": 8, "launches": 3}


def state(changes: Mapping[str, float], *, same: bool) -> State:
    head = {**BASE, **changes}
    return compared(BASE, head, cause_of=lambda _: "template", limits=Limits(), same=same)[0]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, State.UNCHANGED),
        # one more of these is a failure, one less an improvement
        ({"stack": 9}, State.REGRESSED),
        ({"stack": 7}, State.IMPROVED),
        ({"races": 1}, State.REGRESSED),
        ({"unlaunchable": 1}, State.REGRESSED),
        ({"local accesses": 1}, State.REGRESSED),
        ({"launches": 4}, State.REGRESSED),
        ({"launches": 2}, State.IMPROVED),
        ({"bytes": 0.001}, State.REGRESSED),
        ({"resident warps": 15}, State.REGRESSED),
        ({"resident warps": 17}, State.IMPROVED),
        # these show, and matter by their effect only
        ({"registers": 255}, State.PASSED),
        ({"shared": 99999}, State.PASSED),
        ({"code": 99999}, State.PASSED),
        ({"instructions HGMMA": 9}, State.PASSED),
        # a failure outranks an improvement
        ({"stack": 9, "launches": 2}, State.REGRESSED),
    ],
)
def test_a_change_and_its_state(changes: Mapping[str, float], expected: State) -> None:
    assert state(changes, same=True) == expected


def test_other_code_with_the_same_figures_passes() -> None:
    assert state({}, same=False) == State.PASSED


@pytest.mark.parametrize(
    ("count", "limit", "expected"),
    [
        (1020, 0.02, State.PASSED),
        (1021, 0.02, State.REGRESSED),
        (980, 0.02, State.PASSED),
        (979, 0.02, State.IMPROVED),
        (1001, 0.0, State.REGRESSED),
        (1500, 0.5, State.PASSED),
    ],
)
def test_instructions_have_a_limit(count: int, limit: float, expected: State) -> None:
    head = {**BASE, "instructions": count}
    found, message, _ = compared(
        BASE,
        head,
        cause_of=lambda _: "compiler",
        limits=Limits(instructions=limit),
        same=False,
    )
    assert found == expected
    if expected == State.REGRESSED:
        assert f"instructions 1000 -> {count} (+" in message


def test_a_message_names_what_fails_and_its_cause_and_nothing_else() -> None:
    head = {**BASE, "stack": 88, "registers": 255, "launches": 2}
    found, message, differences = compared(
        BASE, head, cause_of=lambda figure: f"{figure}'s", limits=Limits(), same=False,
        reasons=("a copy into b_k starts while",),
    )  # fmt: skip
    assert found == State.REGRESSED
    assert message == (
        "stack 8 -> 88 bytes per thread, cause: stack's; a copy into b_k starts while"
    )
    assert [(d.figure, d.failing) for d in differences] == [
        ("stack", True),
        ("registers", False),
        ("launches", False),
    ]


def test_figures_are_compared_in_the_order_of_the_table() -> None:
    assert differing({"a": 1, "stack": 1}, {"races": 1, "a": 2, "b": 0}) == ["races", "stack", "a"]
    assert rule_of("instructions HMMA") is not None
    assert rule_of("instructions ") is None
    assert rule_of("speed") is None
    assert all(name == rule.figure for name, rule in RULES.items())


@pytest.mark.parametrize(
    ("old", "expected"),
    [
        (None, "template and compiler"),
        (10, "template"),
        (20, "compiler"),
        (15, "template and compiler"),
    ],
)
def test_the_old_source_under_todays_compiler_tells_the_cause(
    old: int | None, expected: str
) -> None:
    figures = None if old is None else {"stack": old}
    found = cause("stack", {"template", "compiler"}, {"stack": 10}, {"stack": 20}, figures)
    assert found == expected


def test_causes_in_words() -> None:
    assert joined([]) == "unknown"
    assert joined(["compiler", "configuration", "template"]) == (
        "template and configuration and compiler"
    )
    three = {"template", "configuration", "compiler"}
    assert cause("stack", three, {"stack": 1}, {}, {"stack": 1}) == "template and configuration"
    assert cause("stack", {"compiler"}, {"stack": 1}, {}, None) == "compiler"


def test_op_and_dtype_are_read_from_a_problems_id() -> None:
    assert facts_of(prefill(tokens=64, dtype="fp32").id()) == ("forward", "fp32")
    assert facts_of(pool(sequences=4).id()) == ("pool", "bf16")
    assert facts_of("anything") == ("", "")
