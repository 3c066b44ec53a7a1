"""The rules without the delta term, on every plan, against fp64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import gdn_ops
from gdn_ops import ops
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.rule import Rule
from gdn_ops.errors import UnsupportedProblem
from gdn_ops.reference import recurrent_reference
from tests.close import assert_close
from tests.gdn_ops.ops.test_lattice import HV, RETENTION, B, T, tensors, wide

LEAVES = ("q", "k", "v", "g", "initial_state")
LINEAR = [(plan, gate, packed) for plan in ("torch", "split", "recurrent")
          for gate in ("none", "scalar") for packed in (False, True)]  # fmt: skip


def linear_call(gate: str, packed: bool) -> dict[str, Any]:
    """A call of ``chunk_simple_gla``; two padding tokens follow packed sequences."""
    rows = slice(1) if packed else slice(None)
    x = {name: value[rows] if name != "h0" else value for name, value in tensors().items()}
    offsets = torch.tensor([0, 11, T - 2]) if packed else None
    return {
        "q": x["q"], "k": x["k"], "v": x["v"], "g": None if gate == "none" else x["g"],
        "initial_state": x["h0"], "output_final_state": True, "cu_seqlens": offsets,
    }  # fmt: skip


def linear_gradients(
    call: dict[str, Any], dtype: torch.dtype | None, run: Any, **more: Any
) -> tuple[Tensor, ...]:
    """Return o, the final state, and all gradients."""
    call = {n: x.to(dtype) if dtype and n in LEAVES and x is not None else x
            for n, x in call.items()}  # fmt: skip
    leaves = {n: call[n].clone().requires_grad_() for n in LEAVES if call[n] is not None}
    o, ht = run(**(call | leaves), **more)
    torch.manual_seed(1)
    do, dht = torch.randn(o.shape).to(o.dtype), torch.randn(ht.shape).to(ht.dtype)
    if call["cu_seqlens"] is not None:
        do[:, T - 2 :] = 0
    loss = (o * do).sum() + (ht * dht).sum()
    return (o.detach(), ht.detach(), *torch.autograd.grad(loss, list(leaves.values())))


@pytest.mark.parametrize(("plan", "gate", "packed"), LINEAR)
def test_every_plan_computes_the_rules_without_the_delta(
    plan: str, gate: str, packed: bool
) -> None:
    call = linear_call(gate, packed)
    wide = {n: x.double() if n in LEAVES and x is not None else x for n, x in call.items()}
    del wide["output_final_state"]
    o_ref, ht_ref = recurrent_reference(**wide, delta=False)
    with gdn_ops.using(plan):
        o, ht = ops.chunk_simple_gla(**call)
    assert ht is not None
    assert_close("o", o_ref, o, 1e-5)
    assert_close("ht", ht_ref, ht, 1e-5)


@pytest.mark.parametrize(("plan", "gate", "packed"), LINEAR)
def test_plans_have_the_gradients_of_rules_without_the_delta(
    plan: str, gate: str, packed: bool
) -> None:
    call = linear_call(gate, packed)
    with gdn_ops.using(plan):
        found = linear_gradients(call, None, ops.chunk_simple_gla)
    del call["output_final_state"]
    wanted = linear_gradients(call, torch.float64, recurrent_reference, delta=False)
    names = ("o", "ht", *(f"d{n}" for n in LEAVES if call[n] is not None))
    for name, ref, got in zip(names, wanted, found, strict=True):
        assert_close(name, ref, got, 1e-4)


def test_a_decode_step_without_the_delta_continues_a_prefill() -> None:
    call = linear_call("scalar", False)
    whole, ht_whole = ops.chunk_simple_gla(**call)
    per_token = ("q", "k", "v", "g")
    first, ht = ops.chunk_simple_gla(**{**call, **{n: call[n][:, :-1] for n in per_token}})
    step = {n: call[n][:, -1:] for n in per_token} | {"initial_state": ht}
    assert ht_whole is not None
    for plan in ("torch", "recurrent"):
        with gdn_ops.using(plan):
            last, ht_last = ops.fused_recurrent_simple_gla(**{**call, **step})
        assert ht_last is not None
        assert_close("o", whole, torch.cat([first, last], dim=1), 1e-5)
        assert_close("ht", ht_whole, ht_last, 1e-5)


def test_a_compiled_call_without_the_delta_equals_the_eager_one() -> None:
    call = linear_call("scalar", False)
    torch.compiler.reset()
    compiled = torch.compile(ops.chunk_simple_gla, fullgraph=True, backend="aot_eager")
    eager = linear_gradients(call, None, ops.chunk_simple_gla)
    for ref, got in zip(eager, linear_gradients(call, None, compiled), strict=True):
        assert torch.equal(ref, got)


def test_float64_without_the_delta_is_computed_in_float64() -> None:
    x = tensors()
    given = [x[n].double() for n in ("q", "k", "v", "g")]
    o, _ = ops.chunk_simple_gla(*given, initial_state=x["h0"].double())
    assert o.dtype == torch.float64
    assert_close("o", wide(x, x["g"], delta=False)[0], o, 1e-12)


def test_a_decay_per_head_has_a_gradient() -> None:
    x = tensors()
    g_gamma = RETENTION.float().requires_grad_()
    o, _ = ops.chunk_simple_gla(x["q"], x["k"], x["v"], g_gamma=g_gamma, initial_state=x["h0"])
    exact = RETENTION.clone().requires_grad_()
    o_ref, _ = wide(x, exact.expand(B, T, HV), delta=False)
    (found,), (wanted,) = (
        torch.autograd.grad(o.sum(), g_gamma),
        torch.autograd.grad(o_ref.sum(), exact),
    )
    assert_close("dg_gamma", wanted, found, 1e-4)


def test_the_choice_for_a_rule_without_the_delta_is_explained() -> None:
    problem = Problem(
        op="forward", H=2, HV=4, K=64, V=64, dtype="bf16", tokens=64, sequences=1,
        rule=Rule("scalar", False),
    )  # fmt: skip
    text = str(gdn_ops.explain(problem, target="h200"))
    assert "forward-scalar-linear-N1-L64" in text
    assert "plan fused computes the delta rule, not scalar-linear" in text


def test_a_pool_supports_only_delta_rules() -> None:
    problem = Problem(
        op="pool", H=2, HV=4, K=64, V=64, dtype="bf16", tokens=4, sequences=4, initial_state=True,
        rule=Rule("scalar", False),
    )  # fmt: skip
    explanation = gdn_ops.explain(problem, target="h200")
    assert "runs on  nothing\nbecause  no plan can run pool-scalar-linear" in str(explanation)
    with pytest.raises(UnsupportedProblem, match="delta rules on a pool"):
        assert explanation.choice


def test_reverse_is_refused() -> None:
    x = tensors()
    with pytest.raises(UnsupportedProblem, match="does not support reverse"):
        ops.fused_recurrent_simple_gla(x["q"], x["k"], x["v"], reverse=True)


def test_calls_that_differ_only_in_the_delta_have_different_launchers() -> None:
    x, call = tensors(), linear_call("scalar", False)
    linear, _ = ops.chunk_simple_gla(**call)
    with_delta, _ = ops.chunk_gated_delta_rule(**call, beta=None)
    assert_close("o", wide(x, x["g"], delta=False)[0], linear, 1e-5)
    ones = x | {"beta": torch.ones(B, T, HV)}
    assert_close("o", wide(ones, x["g"], delta=True)[0], with_delta, 1e-5)
