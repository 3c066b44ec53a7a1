"""Problems with a decay a key channel, from the command line to the winner that a call runs on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import gdn_ops
from gdn_ops import ops
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.rule import Rule
from gdn_ops.codegen.variant import Variant
from gdn_ops.inputs.recipes import Recipe
from gdn_ops.inputs.rule_inputs import random_call
from gdn_ops.launch.bind import bind
from gdn_ops.launch.call import Call
from gdn_ops.reference import log_decay
from gdn_ops.tuner.cli import run
from gdn_ops.tuner.measure.reference_run import reference_run
from gdn_ops.tuner.spaces.workloads import WORKLOADS
from gdn_ops.verify.expected import expected, within_sequences
from gdn_ops.verify.gate_cases import gate_cases
from tests.close import assert_close
from tests.tuner.cli.test_tune_cli import tuned

SIZES = {"H": 1, "HV": 2, "K": 16, "V": 16, "dtype": "fp32", "tokens": 96, "sequences": 3}
RAW = {"gate_in_kernel": True, "dt_bias": True}
PROBLEM = Problem(op="forward", rule=Rule("vector"), **SIZES, **RAW)  # type: ignore[arg-type]
OPTIONS = ["--gate", "vector", "--H", "1", "--HV", "2", "--K", "16", "--dtype", "fp32"]


def plain(problem: Problem) -> Problem:
    return Problem(op=problem.op, rule=problem.rule, **SIZES)  # type: ignore[arg-type]


@pytest.mark.parametrize("delta", [True, False])
def test_a_call_has_a_decay_a_channel(delta: bool) -> None:
    problem = Problem(op="forward", rule=Rule("vector", delta), **SIZES, **RAW)  # type: ignore[arg-type]
    call = random_call(problem)
    assert call.g is not None and call.A_log is not None and call.dt_bias is not None
    assert (call.g.shape, call.A_log.shape, call.dt_bias.shape) == ((3, 32, 2, 16), (2,), (2, 16))
    assert (call.beta is None) == (not delta)
    g = log_decay(call.g, call.A_log, call.dt_bias)
    assert torch.equal(g, random_call(plain(problem)).g)  # type: ignore[arg-type]
    assert g.max() <= 0 and g.std(dim=-1).min() > 0


@pytest.mark.parametrize(("gate", "low", "high"), [("open", 0, 0), ("strong", -1000, -50)])
def test_a_recipe_holds_for_every_channel(gate: str, low: float, high: float) -> None:
    g = random_call(plain(PROBLEM), recipe=Recipe(gate)).g
    assert g is not None
    assert g.shape == (3, 32, 2, 16) and g.min() >= low - 1e-3 and g.max() <= high
    resets = random_call(plain(PROBLEM), recipe=Recipe("resetting")).g
    assert resets is not None
    one_token = resets[0].flatten(1).ne(0).float().mean(1)
    assert 0.2 < one_token.median() < 0.8, "channels are drawn apart"


@pytest.mark.parametrize(
    ("op", "varlen"),
    [("forward", False), ("forward", True), ("decode", False), ("backward", False),
     ("backward", True)],
)  # fmt: skip
def test_the_gates_cases_are_right_in_plan_torch(op: str, varlen: bool) -> None:
    """What the tuner takes for right, its inputs and its reference all mean the same rule."""
    facts = {**SIZES, "tokens": 3} if op == "decode" else SIZES
    problem = Problem(op=op, rule=Rule("vector"), varlen=varlen, **facts, **RAW)  # type: ignore[arg-type]
    for case in gate_cases(problem, BT=16, gpu=False, interpret=True):
        launcher = bind(case.problem, Variant.default("torch", case.problem))
        right = expected(case, "cpu")
        found = within_sequences(_results(launcher, right.call, op), right.call)
        for name, exact in right.outputs.items():
            assert_close(f"{name} of {case.name}", exact, found[name], 1e-4)
        reference_run(case.problem, [right.call])(0)


def _results(launcher: object, call: Call, op: str) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        if op == "backward":
            return dict(launcher.gradients(call))  # type: ignore[attr-defined]
        o, ht = launcher(call)  # type: ignore[operator]
    return {"o": o} if ht is None else {"o": o, "ht": ht}


def test_the_workload_is_of_vector_gates_alone() -> None:
    problems = WORKLOADS["kda"].problems
    assert {p.rule.gate for p in problems} == {"vector"}
    assert {p.op for p in problems} == {"forward", "decode", "backward"}


def test_a_tuned_problem_is_what_a_call_runs_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [*OPTIONS, "--tokens", "32", "--final-state"]
    code, _, error = tuned(tmp_path, *options, "--trials", "1")
    assert code == 0, error
    monkeypatch.setenv("GDN_RESULTS_DB", str(tmp_path / "results.db"))
    gdn_ops.refresh()
    try:
        x = random_call(
            Problem(op="forward", rule=Rule("vector"), **{**SIZES, "sequences": 1, "tokens": 32})
        )  # type: ignore[arg-type]
        choice = gdn_ops.explain(x.q, x.k, x.v, x.g, x.beta, output_final_state=True).choice
        assert (choice.how, choice.problem.rule) == ("exact", Rule("vector"))
        o, _ = ops.chunk_kda(x.q, x.k, x.v, x.g, x.beta, output_final_state=True)
        assert o.isfinite().all()
        assert run(["explain", *options]) == 0
        assert "exact winner" in capsys.readouterr().out
        assert run(["explain", *options, "--linear"]) == 0
        assert "forward-vector-linear" in capsys.readouterr().out
    finally:
        monkeypatch.undo()
        gdn_ops.refresh()


def test_a_vector_gate_is_rendered(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["render", "torch", *OPTIONS, "--linear", "--raw-gate"]) == 0
    out = capsys.readouterr().out
    assert "def torch_chunk_vector(q, k, v, g, A_log, dt_bias, scale)" in out and "beta" not in out
