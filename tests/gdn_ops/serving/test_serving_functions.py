"""The other serving functions, and pools with warm-up, modes and gradients."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gdn_ops import explain, refresh, warmup
from gdn_ops.codegen.problem import Problem
from gdn_ops.dispatch import bindings
from gdn_ops.dispatch.mode import batch_invariant, using
from gdn_ops.reference import recurrent_reference
from gdn_ops.serving import (
    fused_recurrent_gated_delta_rule,
    fused_recurrent_gated_delta_rule_packed_decode,
    fused_sigmoid_gating_delta_rule_update,
)
from tests.close import assert_close
from tests.gdn_ops.serving.pool_case import SCALE, PoolCase

CASE = PoolCase()
plans = pytest.mark.parametrize("plan", ["torch", "recurrent"])


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDN_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "rendered"))


@plans
@pytest.mark.parametrize("out", ["contiguous", "strided", "fp32"])
@pytest.mark.parametrize("v_first", [True, False])
def test_packed_decode_is_the_same_call(plan: str, out: str, v_first: bool) -> None:
    case = CASE.with_(H=2, HV=4, dtype=torch.float16, state=torch.bfloat16, v_first=v_first, gap=8)
    x = case.inputs
    room, again = case.room(), case.room()
    mixed = torch.cat([x[name].flatten(1) for name in ("q", "k", "v")], dim=1)
    mixed = torch.cat([mixed, torch.full_like(mixed[:, :5], float("nan"))], dim=1)[:, :-5]
    buffer = torch.full((4, 1, 4, 48), float("nan"), dtype=torch.float32 if out == "fp32" else None)
    buffer = buffer if out == "fp32" else buffer.half()
    buffer = buffer[..., :24] if out == "strided" else buffer[..., :24].contiguous()
    with using(plan):
        o, pool = fused_recurrent_gated_delta_rule_packed_decode(
            mixed, x["a"][:, 0], x["b"][:, 0], x["A_log"], x["dt_bias"], SCALE, case.pool(room),
            buffer, x["ssm_state_indices"], use_qk_l2norm_in_kernel=True, state_v_first=v_first,
        )  # fmt: skip
        right, _ = fused_sigmoid_gating_delta_rule_update(**x, initial_state=case.pool(again))
    assert o is buffer
    assert torch.equal(o.half(), right)
    assert torch.equal(room, again)
    assert pool.data_ptr() == case.pool(room).data_ptr()


@plans
@pytest.mark.parametrize("gate", [True, False])
@pytest.mark.parametrize("beta", [True, False])
def test_activated_gates(plan: str, gate: bool, beta: bool) -> None:
    case = CASE.with_(H=2, HV=4)
    x, pool = case.inputs, case.pool(case.room())
    g = -torch.rand(x["a"].shape) if gate else None
    b = torch.rand(x["b"].shape) if beta else None
    live = torch.tensor([0, 2, 3])
    slots = x["ssm_state_indices"][live].long()
    right, S = recurrent_reference(
        x["q"][live], x["k"][live], x["v"][live], None if g is None else g[live],
        None if b is None else b[live], initial_state=pool[slots].mT, dtype=torch.float64,
    )  # fmt: skip
    with using(plan):
        o, _ = fused_recurrent_gated_delta_rule(
            x["q"], x["k"], x["v"], g, b, initial_state=pool,
            ssm_state_indices=x["ssm_state_indices"],
        )  # fmt: skip
    assert_close("o", right, o[live], 1e-5)
    assert_close("states", S.mT, pool[slots], 1e-5)


@plans
def test_no_gradient_is_recorded(plan: str) -> None:
    case = CASE.with_(K=8)
    pool = case.pool(case.room())
    leaves = {name: case.inputs[name].clone().requires_grad_() for name in ("A_log", "q", "v")}
    with using(plan):
        o, _ = fused_sigmoid_gating_delta_rule_update(
            **{**case.inputs, **leaves}, initial_state=pool
        )
    assert not o.requires_grad
    assert not pool.requires_grad


def test_it_runs_where_nothing_is_tuned() -> None:
    pool = CASE.pool(CASE.room())
    o, _ = fused_sigmoid_gating_delta_rule_update(**CASE.inputs, initial_state=pool)
    assert_close("o", CASE.expected(CASE.pool(CASE.room()))[0], o, 1e-5)


def test_warmup_binds_what_calls_then_use(monkeypatch: pytest.MonkeyPatch) -> None:
    refresh()
    given = {"H": 1, "HV": 2, "K": 16, "V": 24, "dtype": "fp32", "tokens": 4, "sequences": 4}
    facts = {"gate_in_kernel": True, "dt_bias": True, "qk_l2norm": True, "beta_sigmoid": True}
    problem = Problem(
        op="pool", **given, **facts, initial_state=True, final_state=True, state_v_first=True
    )  # type: ignore[arg-type]
    verify = replace(problem, verify=True, varlen=True)
    choices = warmup([problem, verify], "cpu")
    assert [choice.problem for choice in choices] == [problem, verify]
    assert str(explain(problem)).startswith(f"problem  {problem.id()}")
    monkeypatch.setattr(bindings, "bind", None)
    pool = CASE.pool(CASE.room())
    fused_sigmoid_gating_delta_rule_update(**CASE.inputs, initial_state=pool)


def test_a_batch_invariant_pool_call_has_the_same_bits_in_any_batch() -> None:
    """In ``batch_invariant`` a sequence has the same bits alone and in a batch."""
    pool, again = CASE.pool(CASE.room()), CASE.pool(CASE.room())
    x = CASE.inputs
    one = {name: x[name][3:] for name in ("q", "k", "v", "a", "b", "ssm_state_indices")}
    with batch_invariant():
        o, _ = fused_sigmoid_gating_delta_rule_update(**x, initial_state=pool)
        alone, _ = fused_sigmoid_gating_delta_rule_update(**{**x, **one}, initial_state=again)
    assert torch.equal(o[3:], alone)
    assert torch.equal(pool[5], again[5])
