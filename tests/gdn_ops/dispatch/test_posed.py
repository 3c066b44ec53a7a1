"""The problem of a call, found without running it, is the one that the call runs on."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

import gdn_ops
from gdn_ops.dispatch.bindings import refresh
from gdn_ops.dispatch.posed import posed_by
from gdn_ops.errors import InvalidInput, UnsupportedProblem
from gdn_ops.ops import dispatched
from gdn_ops.serving import rule
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


@pytest.fixture
def bound(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the calls of the test are bound to: problems, and whether they record gradients."""
    found = []
    bind = dispatched.bind_signature

    def spy(signature: Any, problem: Any, device: Any, *, grad: bool) -> Any:
        found.append((problem, grad))
        return bind(signature, problem, device, grad=grad)

    for module in (dispatched, rule):
        monkeypatch.setattr(module, "bind_signature", spy)
    refresh()
    return found


@pytest.mark.parametrize("case", CASES)
def test_the_problem_of_a_kda_call_is_the_one_it_runs_on(bound: list[Any], case: str) -> None:
    arguments = kda_call() | CASES[case]
    posed = posed_by(gdn_ops.chunk_kda, **arguments)
    assert not bound
    gdn_ops.chunk_kda(**arguments)
    assert bound == [(posed.problem, posed.gradients)]


def function_calls() -> dict[str, tuple[Any, tuple[Any, ...]]]:
    """A call of every other function, by its name."""
    c = kda_call()
    q, k, v, g, beta = (c[name] for name in ("q", "k", "v", "g", "beta"))
    pool, slots = torch.zeros(3, HEADS, V, K), torch.tensor([2])
    raw = (torch.zeros(HEADS), beta[:, :1], beta[:, :1], None)
    mixed = torch.cat([x[:, 0].flatten(1) for x in (q, k, v)], dim=1)
    out = torch.empty(1, 1, HEADS, V)
    return {
        "chunk_gla": (gdn_ops.chunk_gla, (q, k, v.requires_grad_(), g)),
        "fused_recurrent_gla": (gdn_ops.fused_recurrent_gla, (q, k, v, g)),
        "chunk_simple_gla": (gdn_ops.chunk_simple_gla, (q, k, v, g[..., 0])),
        "fused_recurrent_simple_gla": (gdn_ops.fused_recurrent_simple_gla, (q, k, v)),
        "chunk_retention": (gdn_ops.chunk_retention, (q, k, v)),
        "chunk_delta_rule": (gdn_ops.chunk_delta_rule, (q, k, v, beta)),
        "chunk_gated_delta_product": (
            gdn_ops.chunk_gated_delta_product, (q[:, :20], k, v, g[:, :20, :, 0], beta, 2),
        ),
        "fused_recurrent_kda": (gdn_ops.fused_recurrent_kda, (q, k, v, g, beta)),
        "fused_recurrent_gated_delta_rule": (
            gdn_ops.fused_recurrent_gated_delta_rule, (q, k, v.half(), g[..., 0], g),
        ),
        "serving.fused_recurrent_gated_delta_rule": (
            gdn_ops.serving.fused_recurrent_gated_delta_rule,
            (*(x[:, :1] for x in (q, k, v)), None, None, None, pool, True, None, slots),
        ),
        "serving.fused_sigmoid_gating_delta_rule_update": (
            gdn_ops.serving.fused_sigmoid_gating_delta_rule_update,
            (*raw, *(x[:, :1] for x in (q, k, v)), 1.0, 20.0, None, pool, True, None, slots),
        ),
        "serving.fused_recurrent_gated_delta_rule_packed_decode": (
            gdn_ops.serving.fused_recurrent_gated_delta_rule_packed_decode,
            (mixed, raw[1][:, 0], raw[2][:, 0], raw[0], None, None, pool, out, slots),
        ),
    }  # fmt: skip


@pytest.mark.parametrize("name", function_calls())
def test_every_function_explains_what_its_call_runs_on(bound: list[Any], name: str) -> None:
    function, arguments = function_calls()[name]
    explained = gdn_ops.explain(function, *arguments)
    assert not bound
    function(*(x.detach().clone() if isinstance(x, torch.Tensor) and not x.requires_grad else x
               for x in arguments))  # fmt: skip
    ((problem, grad),) = bound
    assert explained.choice.problem == problem
    assert (explained.gradients is not None) == grad


def test_no_function_is_left_out() -> None:
    names = {*gdn_ops.ops.__all__, *(f"serving.{name}" for name in gdn_ops.serving.__all__)}
    assert names == {*function_calls(), "chunk_gated_delta_rule", "chunk_kda"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((torch.relu, torch.zeros(1)), "is not a function of gdn_ops; give one"),
        ((gdn_ops.refresh,), "refresh chooses no kernel"),
        ((torch.nn.Linear(2, 2),), "Linear has no layer that gdn_ops knows; give a model with"),
    ],
)
def test_what_chooses_no_kernel_is_refused(arguments: tuple[Any, ...], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        gdn_ops.explain(*arguments)


def test_a_call_without_variants_says_so() -> None:
    c = kda_call()
    with pytest.raises(UnsupportedProblem, match="one value per value channel runs in plain"):
        gdn_ops.explain(
            gdn_ops.fused_recurrent_gated_delta_rule, c["q"], c["k"], c["v"], gv=-c["v"].abs()
        )
    double = {name: x.double() for name, x in c.items()}
    with pytest.raises(UnsupportedProblem, match="in float64 run on gdn_ops"):
        gdn_ops.explain(gdn_ops.chunk_kda, **double)


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
    said = message_of(partial(gdn_ops.explain, gdn_ops.chunk_kda), arguments, kind)
    assert said == message_of(gdn_ops.chunk_kda, arguments, kind)
    if case in REFUSED:
        arguments = call() | options
        said = message_of(gdn_ops.explain, arguments, kind)
        assert said == message_of(gdn_ops.chunk_gated_delta_rule, arguments, kind)
