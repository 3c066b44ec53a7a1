"""The problem of a call, found without running it, is the one that the call runs on."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import gdn_ops
from gdn_ops.dispatch.bindings import refresh
from gdn_ops.errors import InvalidInput, UnsupportedProblem
from gdn_ops.ops import dispatched
from gdn_ops.ops.call_problem import problem_of_call, problem_of_kda_call
from tests.gdn_ops.ops.calls import call

HEADS, K, V = 4, 16, 16
GATE = {"use_gate_in_kernel": True, "A_log": torch.zeros(HEADS)}
BOUNDED = {"use_gate_in_kernel": True, "lower_bound": -5.0}


def kda_call() -> dict[str, Any]:
    shape = (1, 40, HEADS)
    q, k, g = torch.randn(3, *shape, K).unbind()
    v, beta = torch.randn(*shape, V), torch.rand(shape)
    return {"q": q, "k": k, "v": v, "g": -g.abs(), "beta": beta}


CASES: dict[str, dict[str, Any]] = {
    "plain": {"output_final_state": True},
    "raw gate": GATE,
    "raw gate with a bias": GATE | {"dt_bias": torch.zeros(HEADS * K)},
    "bounded": BOUNDED,
    "bounded, safe, with a bias": BOUNDED
    | {"safe_gate": True, "A_log": torch.zeros(1, 1, HEADS, 1), "dt_bias": torch.zeros(HEADS * K)},
    "packed": {"cu_seqlens": torch.tensor([0, 11, 40])},
    "state with V first": {"initial_state": torch.zeros(1, HEADS, V, K), "state_v_first": True},
    "an ignored chunk size": {"chunk_size": 64},
}


@pytest.mark.parametrize("case", CASES)
def test_the_problem_of_a_kda_call_is_the_one_it_runs_on(
    monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    posed = []
    bind = dispatched.bind_signature

    def spy(signature: Any, problem: Any, device: Any, *, grad: bool) -> Any:
        posed.append(problem)
        return bind(signature, problem, device, grad=grad)

    monkeypatch.setattr(dispatched, "bind_signature", spy)
    refresh()
    arguments = kda_call() | CASES[case]
    gdn_ops.chunk_kda(**arguments)
    assert posed == [problem_of_kda_call(**arguments)]


REFUSED = {
    "cp_context": ({"cp_context": object()}, UnsupportedProblem),
    "neg_eigval alone": ({"allow_neg_eigval": True}, InvalidInput),
    "chunk size": ({"chunk_size": 48}, InvalidInput),
    "both names": ({"state_v_first": True, "transpose_state_layout": True}, InvalidInput),
}
REFUSED_BY_KDA = {
    "disable_recompute": ({"disable_recompute": True}, UnsupportedProblem),
    "unknown": ({"surprise": 1}, UnsupportedProblem),
    "no bound": (GATE | {"safe_gate": True}, InvalidInput),
    "no A_log": ({"use_gate_in_kernel": True}, InvalidInput),
}


def message_of(function: Any, arguments: dict[str, Any], kind: type[Exception]) -> str:
    with pytest.raises(kind) as error:
        function(**arguments)
    return str(error.value)


@pytest.mark.parametrize("case", REFUSED | REFUSED_BY_KDA)
def test_what_a_call_refuses_is_refused_without_running_it(case: str) -> None:
    options, kind = (REFUSED | REFUSED_BY_KDA)[case]
    arguments = kda_call() | options
    said = message_of(problem_of_kda_call, arguments, kind)
    assert said == message_of(gdn_ops.chunk_kda, arguments, kind)
    if case in REFUSED:
        arguments = call() | options
        said = message_of(problem_of_call, arguments, kind)
        assert said == message_of(gdn_ops.chunk_gated_delta_rule, arguments, kind)
        assert said == message_of(gdn_ops.explain, arguments, kind)
