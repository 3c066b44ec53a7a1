"""Dispatch: the order of the look-up, refusals with reasons, and the text of ``explain``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import gdn_ops
from gdn_ops.codegen.kernels.torch_decode import LARGE
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.rule import Rule
from gdn_ops.codegen.targets import target_named
from gdn_ops.codegen.variant import Variant
from gdn_ops.dispatch import bindings
from gdn_ops.dispatch.choice import choose, choose_forced
from gdn_ops.dispatch.device import target_of
from gdn_ops.dispatch.winner import Winner
from gdn_ops.dispatch.winner_table import WinnerTable
from gdn_ops.errors import InvalidInput, UnknownName, UnsupportedProblem
from tests.gdn_ops.ops.calls import call
from tests.problems import DECODE, FORWARD

H200, H100, A100 = (target_named(name) for name in ("h200", "h100", "a100"))


def winner(
    problem: Problem,
    target: str = "h200",
    arch: str = "sm_90",
    *,
    sources: Mapping[str, str] | None = None,
    **change: Any,
) -> Winner:
    variant = Variant.of("split", problem, {"BT": 32})
    facts: dict[str, Any] = {
        "problem_id": problem.bucket().id(), "facts": problem.bucket().facts(), "target": target,
        "arch": arch, "variant_id": variant.id, "variant": variant.to_json(), "median": 1e-3,
        "low": 9e-4, "high": 1.1e-3, "reference": 5e-3, "provenance": "measured", "trial_id": 7,
        "device": "NVIDIA H200", "torch": "2.13.0", "triton": "3.7.1",
        "created": "2026-01-01T00:00:00", "database": Path("results.db"),
    }  # fmt: skip
    found = Winner(**(facts | change))
    found.__dict__["sources"] = sources  # they are read from the database otherwise
    return found


def test_the_order_ends_with_defaults_and_plan_torch() -> None:
    near = replace(FORWARD, tokens=1024)
    rows = {
        "exact": winner(FORWARD),
        "nearest": winner(near),
        "same arch": winner(FORWARD, target="h100"),
        "kindred arch": winner(FORWARD, target="a kin", arch="sm_90a"),
        "predicted": winner(FORWARD, provenance="predicted"),
    }
    for how in tuple(rows):
        assert choose(FORWARD, H200, WinnerTable(tuple(rows.values()))).how == how
        del rows[how]
    wrong: list[str] = []

    def faults(problem: Problem, variant: Variant) -> list[str]:
        return ["it was wrong here"] if variant.plan in wrong else []

    found = []
    for _ in range(5):
        choice = choose(FORWARD, H200, WinnerTable(()), faults=faults)
        found.append((choice.how, choice.variant.plan))
        wrong.append(choice.variant.plan)
    assert found == [
        ("default", "split"),
        ("default", "fused"),
        ("default", "fused1"),
        ("default", "recurrent"),
        ("fallback", "torch"),
    ]
    with pytest.raises(UnsupportedProblem, match=r"plan torch: it was wrong here"):
        choose(FORWARD, H200, WinnerTable(()), faults=faults)


@pytest.mark.parametrize("plan", ["fused_sm90", "segmented_sm90"])
def test_a_plan_that_no_gpu_has_run_runs_only_where_it_was_tuned_or_is_asked_for(plan: str) -> None:
    problem = replace(FORWARD, dtype="bf16", tokens=32768, sequences=1)
    variant = Variant.default(plan, problem)
    assert variant.reasons(problem, H200) == []

    def faults(problem: Problem, variant: Variant) -> list[str]:
        return [] if variant.plan in (plan, "torch") else ["it was wrong here"]

    row = {"variant_id": variant.id, "variant": variant.to_json()}
    predicted = winner(problem, provenance="predicted", **row)
    found = choose(problem, H200, WinnerTable((predicted,)), faults=faults)
    assert (found.how, found.variant.plan) == ("fallback", "torch")
    refused = {refusal.candidate.split(" of ")[0]: refusal.reasons for refusal in found.refused}
    for candidate in (f"plan {plan}", f"predicted winner {variant.named}"):
        assert "its kernels have not run on a GPU yet" in refused[candidate][0]
    tuned = choose(problem, H200, WinnerTable((winner(problem, **row),)), faults=faults)
    assert (tuned.how, tuned.variant.plan) == ("exact", plan)
    assert choose_forced(problem, H200, plan).variant == variant


def test_a_fault_of_a_winner_leads_to_the_next_one() -> None:
    first, second = winner(FORWARD), winner(FORWARD, target="h100")
    second = replace(second, variant=Variant.of("split", FORWARD, {"BT": 16}).to_json())

    def faults(problem: Problem, variant: Variant) -> list[str]:
        return ["failed here"] if dict(variant.interface)["BT"] == 32 else []

    choice = choose(FORWARD, H200, WinnerTable((first, second)), faults=faults)
    assert (choice.winner, choice.how) == (second, "same arch")
    assert choice.refused[0].reasons == ("failed here",)


@pytest.mark.parametrize(
    ("arch", "dtype", "dot"),
    [
        ("amx-bf16", "bf16", "native"),
        ("avx512-bf16", "bf16", "native"),
        ("avx512", "bf16", "ieee"),
        ("avx512-bf16", "fp16", "ieee"),
        ("amx-bf16", "fp32", "ieee"),
    ],
)
def test_a_cpus_defaults_follow_what_it_multiplies(arch: str, dtype: str, dot: str) -> None:
    target = replace(target_named("cpu"), name=f"cpu-{arch}", arch=arch)
    for problem in (FORWARD, FORWARD.backward(final_state=True)):
        choice = choose(replace(problem, dtype=dtype), target, WinnerTable(()))
        (stage,) = dict(choice.variant.stages)
        assert (choice.how, choice.variant.config(stage)["dot"]) == ("fallback", dot)
        forced = choose_forced(replace(problem, dtype=dtype), target, "torch")
        assert forced.variant == choice.variant


@pytest.mark.parametrize("forced", (None, "torch"))
def test_problems_of_a_bucket_have_one_variant(forced: str | None) -> None:
    HV = LARGE // (4 * 4 * 256 * 256)  # four sequences have large states, two have not
    heads: dict[str, Any] = {"H": HV, "HV": HV, "K": 256, "V": 256, "initial_state": True}
    problems = [
        Problem(op="decode", tokens=B, sequences=B, dtype="fp32", **heads) for B in (2, 3, 4)
    ]
    target = target_of(torch.device("cpu"))

    def reads(problem: Problem) -> object:
        if forced is None:
            choice = choose(problem, target, WinnerTable(()))
        else:
            choice = choose_forced(problem, target, forced)
        return choice.variant.config("torch_decode")["reads"]

    assert [reads(problem) for problem in problems] == [2, 1, 1]


def test_a_winner_of_another_arch_is_not_used() -> None:
    table = WinnerTable((winner(FORWARD, target="a100", arch="sm_80"),))
    assert choose(FORWARD, H200, table).how == "default"


def test_a_winner_that_cannot_run_is_refused_with_its_reason() -> None:
    bad = winner(FORWARD, variant={"plan": "split", "interface": {"BT": 63}}, variant_id="bad")
    good = winner(FORWARD, target="h100")
    choice = choose(FORWARD, H200, WinnerTable((bad, good)))
    assert choice.winner is good
    assert "BT=63 is not a value of this axis" in choice.refused[0].reasons[0]


def test_gradients_have_their_own_winners() -> None:
    problem = FORWARD.backward(final_state=False)
    rows = (winner(FORWARD), winner(problem))
    choice = choose(problem, H200, WinnerTable(rows))
    assert (choice.winner, choice.how) == (rows[1], "exact")
    assert "bwd_dh" in dict(choice.variant.stages)
    assert choose(problem, H200, WinnerTable(rows[:1])).how == "default"


@pytest.mark.parametrize("plan", ["fused1"])
def test_a_plan_without_gradients_is_refused(plan: str) -> None:
    with pytest.raises(UnsupportedProblem, match=f"plan {plan} has no backward; plan split"):
        choose_forced(FORWARD.backward(final_state=False), H200, plan)


def test_the_error_lists_the_reasons_of_every_plan() -> None:
    with pytest.raises(UnsupportedProblem) as error:
        choose(replace(FORWARD, op="pool", rule=Rule("scalar", False)), H200, WinnerTable(()))
    for plan in ("split", "recurrent", "torch"):
        assert f"plan {plan}" in str(error.value)


def test_explain_names_row_variant_and_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    table = WinnerTable((winner(FORWARD),))
    monkeypatch.setattr("gdn_ops.dispatch.choice.stored_winners", lambda target: table)
    text = str(gdn_ops.explain(FORWARD, target="h200"))
    assert "exact winner: row 7 of results.db" in text
    assert "measured 1.00 ms [900 us, 1.10 ms], 5.00 times the reference's speed" in text
    assert "BT=32" in text and "plan torch: row 7 was the fastest one measured" in text


def test_on_a_cpu_one_line_names_the_plans_that_need_a_gpu() -> None:
    explanation = gdn_ops.explain(FORWARD, target="cpu-avx2")
    lines = str(explanation).splitlines()
    plans = ", ".join(name for name in PLANS if name not in ("cpp", "torch"))
    assert lines[-1].endswith(
        f"plans {plans}: made of GPU kernels, and target cpu-avx2 is not a GPU"
    )
    full = explanation.text(every_plan=True).splitlines()
    assert sum(line.startswith("not ") for line in full) == len(PLANS) - 1
    assert [line for line in full if line in lines] == lines[:-1]


def test_explain_takes_the_arguments_of_a_call() -> None:
    arguments = call(T=20)
    explanation = gdn_ops.explain(**arguments)
    assert explanation.choice.problem.id().startswith("forward-scalar-delta-N2-L40-H2-HV4-K16-V32")
    assert explanation.variant.plan == "torch"
    with pytest.raises(UnknownName, match="unknown target 'h20000'"):
        gdn_ops.explain(FORWARD, target="h20000")


def test_using_forces_a_plan_only_inside_its_block() -> None:
    arguments = call(T=20)
    with gdn_ops.using("split"):
        assert gdn_ops.explain(**arguments).choice.how == "forced"
        assert gdn_ops.explain(**arguments).variant.plan == "split"
    assert gdn_ops.explain(**arguments).variant.plan == "torch"
    with (
        pytest.raises(UnknownName, match="unknown plan 'spilt'; did you mean 'split'"),
        gdn_ops.using("spilt"),
    ):
        pass
    token = {n: arguments[n][:, :1] for n in ("q", "k", "v", "g", "beta")}
    with gdn_ops.using("split"), pytest.raises(UnsupportedProblem, match="decode has one token"):
        gdn_ops.fused_recurrent_gated_delta_rule(**token)


def test_warmup_binds_what_calls_then_use(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = call(B=1, T=60)
    problem = gdn_ops.explain(**arguments).choice.problem
    problems = [problem, problem.backward(final_state=True), DECODE]
    bindings.refresh()
    choices = gdn_ops.warmup(problems, "cpu")
    assert [c.variant.plan for c in choices] == ["torch"] * 3
    monkeypatch.delattr(bindings, "bind")
    v = arguments["v"].requires_grad_()
    o, ht = gdn_ops.chunk_gated_delta_rule(**arguments)
    assert ht is not None
    (o.sum() + ht.sum()).backward()
    assert v.grad is not None


def test_signatures_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    bindings.refresh()
    monkeypatch.setattr(bindings, "LIMIT", 3)
    with torch.no_grad():
        for T in range(1, 10):
            gdn_ops.chunk_gated_delta_rule(**call(T=T, state=False))
    assert len(bindings.BOUND) <= 3


def test_the_warm_path_refuses_the_same_arguments_as_the_cold_path() -> None:
    arguments = call(T=20)
    with torch.no_grad():
        gdn_ops.chunk_gated_delta_rule(**arguments)
        for change in (
            {"beta": arguments["beta"].int()},
            {"k": arguments["k"].to("meta")},
            {"g": arguments["g"].to("meta")},
        ):
            with pytest.raises(InvalidInput):
                gdn_ops.chunk_gated_delta_rule(**(arguments | change))


def test_a_strided_cu_seqlens_is_read_by_its_strides() -> None:
    offsets = torch.tensor([0, 99, 7, 99, 40])[::2]
    arguments = call(B=1, T=40, offsets=[0, 7, 40])
    with torch.no_grad(), gdn_ops.using("recurrent"):
        o, _ = gdn_ops.chunk_gated_delta_rule(**arguments)
        strided, _ = gdn_ops.chunk_gated_delta_rule(**(arguments | {"cu_seqlens": offsets}))
    assert torch.equal(o, strided)


def test_names_stay_functions_after_their_modules_are_imported() -> None:
    import importlib

    importlib.import_module("gdn_ops.dispatch.explain")
    importlib.import_module("gdn_ops.warming")
    assert callable(gdn_ops.explain) and callable(gdn_ops.warmup)


def test_a_batch_invariant_choice_ignores_the_sizes() -> None:
    rows = tuple(winner(replace(FORWARD, tokens=tokens)) for tokens in (64, 8192))
    table = WinnerTable(rows)
    for size in ({"tokens": 64}, {"tokens": 512, "sequences": 4}, {"tokens": 64, "varlen": True}):
        problem = replace(FORWARD, **size)
        assert choose(problem, H200, table, invariant=True).winner is rows[1]
    assert choose(replace(FORWARD, tokens=64), H200, table).winner is rows[0]
