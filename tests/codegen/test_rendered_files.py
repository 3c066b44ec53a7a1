"""What every rendered file has in common, whatever its stage."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.problem import OPS, Problem
from gdn_ops.codegen.render import render
from gdn_ops.codegen.rule import GATES, Rule
from gdn_ops.codegen.targets import target_named
from gdn_ops.codegen.variant import Variant
from tests.codegen.rendered_source import assert_looks_written_by_hand, unused

GPUS = target_named("h200"), target_named("b200")
EVEN = Problem(op="forward", H=4, HV=4, K=128, V=128, dtype="bf16", tokens=8192, sequences=2)
RAGGED = replace(EVEN, HV=12, K=60, V=100, dtype="fp32", varlen=True)
ENDS: dict[str, Any] = {"initial_state": True, "final_state": True}


def problems(op: str) -> Iterator[Problem]:
    for gate in GATES:
        for delta in (True, False):
            raw: dict[str, Any] = (
                {"gate_in_kernel": True, "dt_bias": True} if gate != "none" else {}
            )
            rule = Rule(gate=gate, delta=delta)
            states: dict[str, Any] = ENDS if op == "pool" else {}
            yield replace(EVEN, op=op, rule=rule, **states)
            yield replace(EVEN, op=op, rule=rule, H=2, **ENDS)
            yield replace(RAGGED, op=op, rule=rule, **raw, **states)
            yield replace(RAGGED, op=op, rule=rule, initial_state=True, final_state=op == "pool")


def sources(op: str) -> Iterator[tuple[str, str]]:
    """Stage and source of every plan's default, and of every other value of an axis by itself."""
    for problem in problems(op):
        for plan in PLANS.values():
            variant = Variant.default(plan.name, problem)
            running = (t for t in GPUS if not plan.reasons(problem, dict(variant.interface), t))
            if (target := next(running, None)) is None:
                continue
            for stage, own in variant.stages:
                spec, config = KERNELS[stage], variant.config(stage)
                others = [
                    {**config, axis.name: value}
                    for axis in spec.axes
                    if not axis.launch
                    for value in axis.values
                    if value != dict(own)[axis.name]
                ]
                for given in (config, *others):
                    if not spec.reasons(problem, given, target):
                        yield stage, render(spec, problem, given)


@pytest.mark.parametrize("op", OPS)
def test_rendered_files_look_written_by_hand(op: str) -> None:
    distinct = set(sources(op))
    for stage, source in distinct:
        assert_looks_written_by_hand(source)
        # a sequence to decode is one token, whatever T says
        moot = {"T"} if (stage, op) == ("recurrent", "decode") else set()
        assert unused(ast.parse(source), stage) <= moot, source
    assert distinct
