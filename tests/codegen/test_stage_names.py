"""Rows that were stored under stages' old names still name what runs today."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.rule import GATES, Rule
from gdn_ops.codegen.stage_names import RENAMED, current_name
from gdn_ops.codegen.variant import Variant
from tests.problems import FORWARD

RULES = [Rule(gate, delta) for gate in GATES for delta in (True, False)]


def of(op: str, rule: Rule) -> Problem:
    return replace(FORWARD, op=op, rule=rule)


def test_every_new_name_is_a_stage_and_no_old_one_is() -> None:
    assert set(RENAMED.values()) <= set(KERNELS)
    assert not set(RENAMED) & set(KERNELS)
    for old, new in RENAMED.items():
        assert current_name(old, FORWARD) == new


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_names_of_today_stay(rule: Rule) -> None:
    for op in ("forward", "backward", "decode"):
        for plan in PLANS.values():
            for stage in plan.stages(of(op, rule)):
                assert current_name(stage, of(op, rule)) == stage


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
@pytest.mark.parametrize(
    ("op", "old"), [("forward", "torch_chunk"), ("backward", "torch_backward")]
)
def test_one_name_for_all_rules(op: str, old: str, rule: Rule) -> None:
    problem = of(op, rule)
    stored = {"plan": "torch", "interface": {}, "stages": {old: {"BT": 32, "AHEAD": 16}}}
    variant = Variant.from_json(stored, problem)
    (stage,) = PLANS["torch"].stages(problem)
    assert stage.startswith(old)
    assert variant == Variant.of("torch", problem, {}, {stage: {"BT": 32, "AHEAD": 16}})


def test_a_stored_variant_of_old_names_is_read() -> None:
    stored = {
        "plan": "split",
        "interface": {"BT": 32},
        "stages": {"state": {"layout": "VK"}, "output": {"BK": 32}, "solve": {"NC": 1}},
    }
    stages = {"chunk_h": {"layout": "VK"}, "chunk_o": {"BK": 32}, "solve": {"NC": 1}}
    assert Variant.from_json(stored, FORWARD) == Variant.of("split", FORWARD, {"BT": 32}, stages)


def test_decode_that_was_stored_with_the_stage_of_sequences_runs_its_own() -> None:
    decode = of("decode", Rule())
    stored = {"plan": "torch", "interface": {}, "stages": {"torch_recurrent": {}}}
    assert Variant.from_json(stored, decode) == Variant.default("torch", decode)
    packed = replace(decode, varlen=True)
    assert dict(Variant.from_json(stored, packed).stages) == {"torch_recurrent": ()}
