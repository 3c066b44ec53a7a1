"""Calls on a pool of states, made, verified and timed by the tuner."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.rule import Rule
from gdn_ops.codegen.variant import Variant
from gdn_ops.inputs.recipes import Recipe
from gdn_ops.inputs.rule_inputs import random_call
from gdn_ops.launch.pool_call import PoolCall
from gdn_ops.launch.stage_launcher import StageLauncher, Workspace
from gdn_ops.tuner.measure.measurement import run
from gdn_ops.tuner.spaces.workloads import pool, problem_of
from gdn_ops.verify.accuracy_gate import verify

DECODE = pool(sequences=4, H=2, HV=4, K=20, V=12)
VERIFY = pool(sequences=4, drafts=2, H=2, HV=4, K=20, V=12, state_dtype="fp32")
PLAIN = {"gate_in_kernel": False, "dt_bias": False, "qk_l2norm": False, "beta_sigmoid": False}
PROBLEMS = {
    "decode": DECODE,
    "verify": VERIFY,
    "dense": replace(VERIFY, varlen=False),
    "K-first": replace(DECODE, state_v_first=False, state_dtype="fp16", varlen=True),
    "activated": replace(DECODE, **PLAIN, dtype="fp32", state_dtype="fp32"),
    "no gate": replace(VERIFY, **PLAIN, rule=Rule("none", True), dtype="fp32"),
    "not in place": replace(VERIFY, final_state=False),
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDN_CACHE_DIR", str(tmp_path))


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
@pytest.mark.parametrize("plan", ["torch", "recurrent"])
def test_both_plans_are_right(plan: str, problem: Problem) -> None:
    variant = Variant.default(plan, problem)
    verdict = verify(problem, variant, interpret=plan == "recurrent")
    assert verdict.status == "ok", verdict.message
    assert set(verdict.errors) == {"o", "ht"}
    assert all(0 < error < 5e-3 for error in verdict.errors.values())


def _unnamed_slot(values: dict[str, Any]) -> None:
    used = set(values["slots"].flatten().tolist())
    spare = next(i for i in range(len(values["pool"])) if i not in used)
    values["pool"][spare] += 1


def _no_state(values: dict[str, Any]) -> None:
    values["pool"][values["slots"][0, -1]] = 0.25


@pytest.mark.parametrize(
    ("damage", "text"),
    [(_unnamed_slot, "writes into its input pool"), (_no_state, "of ht")],
)
def test_what_a_kernel_must_not_do_is_seen(
    damage: Callable[[dict[str, Any]], None], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = StageLauncher.launch

    def broken(self: StageLauncher, workspace: Workspace) -> None:
        right(self, workspace)
        damage(workspace.values)

    monkeypatch.setattr(StageLauncher, "launch", broken)
    problem = replace(VERIFY, varlen=False)
    verdict = verify(problem, Variant.default("recurrent", problem), interpret=True)
    assert verdict.status == "wrong"
    assert text in verdict.message


def test_random_calls_have_slots_of_their_own() -> None:
    call = random_call(VERIFY, seed=3, recipe=Recipe(skipped=1))
    assert isinstance(call, PoolCall)
    named = call.slots[call.slots >= 0].tolist()
    assert len(named) == len(set(named)) > 3
    assert max(named) < len(call.pool)
    assert (call.slots[1] == -1).all()
    assert call.accepted is not None
    assert set(call.accepted.tolist()) <= set(range(1, call.slots.shape[1] + 1))
    again = random_call(VERIFY, seed=3, recipe=Recipe(skipped=1))
    assert isinstance(again, PoolCall)
    assert torch.equal(call.pool, again.pool)
    assert torch.equal(call.q, again.q)


def test_variants_are_timed_beside_the_reference() -> None:
    for problem in (DECODE, VERIFY):
        result = run(
            {
                "problem": problem.facts(),
                "variants": [Variant.default("torch", problem).to_json()],
                "stage": None, "reference": True, "device": "cpu", "threads": 1, "rounds": 3,
                "seconds": 0.1, "stop_above": None, "settle": False, "eager": False,
            }
        )  # fmt: skip
        assert len(result["rows"][0]["samples"]) == len(result["reference"]["samples"]) > 2


def test_a_file_may_ask_for_a_pool() -> None:
    facts = {"op": "pool", "H": 2, "HV": 4, "K": 16, "V": 16, "dtype": "bf16", "sequences": 8}
    problem = problem_of({**facts, "state_dtype": "bf16", "verify": True, "tokens": 32})
    assert (problem.verify, problem.state_dtype, problem.tokens) == (True, "bf16", 32)
    assert problem_of(facts).tokens == 8
