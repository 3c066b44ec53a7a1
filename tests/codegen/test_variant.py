"""Variants: what is stored is read back; what is hostile never reaches a template."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.rule import GATES, Rule
from gdn_ops.codegen.targets import target_named
from gdn_ops.codegen.variant import Variant
from gdn_ops.errors import InvalidConfig, InvalidInput, UnknownName
from tests.problems import FORWARD

H200, B200 = target_named("h200"), target_named("b200")
TARGETS_OF = {"fused_sm100": B200, "cpp": target_named("cpu")}
"""The device of a plan that H200 does not run."""
NONE = {("fused_sm90", "fp32"), ("fused_sm100", "fp32"), ("segmented_sm90", "fp32")}
"""Plans that run no problem of a dtype."""
RULES = [Rule(gate, delta) for gate in GATES for delta in (True, False)]
HOSTILE: list[tuple[Any, type[Exception]]] = [
    ({"plan": "split", "interface": {"BT": "64)\nimport os"}}, InvalidConfig),
    ({"plan": "split", "interface": {"BT": True}}, InvalidConfig),
    ({"plan": "split", "interface": {"BT": 64.0}}, InvalidConfig),
    ({"plan": "split", "interface": {"__import__": 1}}, UnknownName),
    ({"plan": "../split"}, UnknownName),
    ({"plan": ["split"]}, InvalidConfig),
    ({"plan": "split", "interface": [64]}, InvalidConfig),
    ({"plan": "split", "stages": {"chunk_h": 5}}, InvalidConfig),
    ({"plan": "split", "stages": {"nothing": {}}}, UnknownName),
    ("split", InvalidConfig),
    (None, InvalidConfig),
]


@pytest.mark.parametrize("plan", PLANS)
def test_round_trip(plan: str) -> None:
    variant = Variant.default(plan, FORWARD)
    assert Variant.from_json(variant.to_json(), FORWARD) == variant
    assert variant.id.startswith(f"{plan}-")


@pytest.mark.parametrize("value", [0, -1])
@pytest.mark.parametrize("plan", PLANS)
def test_the_text_of_a_variant_is_read_back(plan: str, value: int) -> None:
    """Also where an axis' default depends on the problem, as in fp32."""
    problem = replace(FORWARD, dtype="fp32")
    definition = PLANS[plan]
    variant = Variant.of(
        plan,
        problem,
        {axis.name: axis.values[value] for axis in definition.axes},
        {s.name: {a.name: a.values[value] for a in s.axes} for s in definition.specs(problem)},
    )
    assert Variant.from_text(str(variant), problem) == variant
    assert variant.named == f"{variant} #{variant.id[-12:-4]}"


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("split BT", InvalidInput, "'BT' is not AXIS=VALUE"),
        ("split BT=31", InvalidConfig, "BT='31'"),
        ("split BX=32", UnknownName, "axis 'BX'"),
        ("split chunk(BV=32)", UnknownName, "stage of plan split 'chunk'"),
        ("splits BT=32", UnknownName, "plan 'splits'"),
    ],
)
def test_a_text_that_is_no_variant_is_refused(text: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        Variant.from_text(text, FORWARD)


def test_missing_axes_take_their_default() -> None:
    """A row written before an axis existed stays usable."""
    data = Variant.default("split", FORWARD).to_json()
    del data["interface"]["gate_free"], data["stages"]["chunk_h"]["loads"]
    assert Variant.from_json(data, FORWARD) == Variant.default("split", FORWARD)


@pytest.mark.parametrize(("data", "error"), HOSTILE)
def test_hostile_rows_are_refused(data: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        Variant.from_json(data, FORWARD)


def test_the_default_of_every_plan_runs_in_every_dtype_by_the_rules_it_computes() -> None:
    for dtype in ("bf16", "fp16", "fp32"):
        problem = replace(FORWARD, dtype=dtype, tokens=8192)
        for plan in PLANS:
            target = TARGETS_OF.get(plan, H200)
            variants = [
                (Variant.default(plan, p), p) for p in (replace(problem, rule=r) for r in RULES)
            ]
            run = [
                (variant, p)
                for variant, p in variants
                if not PLANS[plan].reasons(p, dict(variant.interface), target)
            ]
            assert run or (plan, dtype) in NONE, (plan, dtype)
            for variant, p in run:
                assert variant.reasons(p, target) == [], (variant, p)


def test_the_torch_plan_runs_every_dtype_on_every_target() -> None:
    from gdn_ops.codegen.targets import TARGETS

    for dtype in ("bf16", "fp16", "fp32"):
        problem = replace(FORWARD, dtype=dtype)
        for target in TARGETS.values():
            assert Variant.default("torch", problem).reasons(problem, target) == []
