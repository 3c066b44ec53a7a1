"""Rules with one decay per key channel, KDA and GLA, on all plans that support them."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

import gdn_ops
from gdn_ops import ops
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.rule import Rule
from gdn_ops.codegen.variant import Variant
from gdn_ops.dispatch.choice import interpreter_target
from gdn_ops.errors import InvalidInput, UnsupportedProblem
from gdn_ops.reference import gated_delta_rule_reference, recurrent_reference
from tests.close import assert_close
from tests.gdn_ops.ops.test_lattice import HV, B, H, K, T, V, tensors

LEAVES = ("q", "k", "v", "g", "beta", "A_log", "dt_bias", "initial_state")
FEW = 21
"""The number of tokens in the interpreter, which is slow."""


def call(*, delta: bool, packed: bool, raw: bool = False, tokens: int = T) -> dict[str, Any]:
    """Return arguments of ``chunk_kda`` or ``chunk_gla``; NaN follows packed sequences."""
    x = {n: t[: 1 if packed else B, :tokens] for n, t in tensors().items() if n != "h0"}
    cuts = (0, 11, 11, tokens - 2)
    x["h0"] = torch.randn(len(cuts) - 1 if packed else B, HV, K, V)
    given = {"q": x["q"], "k": x["k"], "v": x["v"], "g": x["gk"]}
    given |= {"beta": x["beta"]} if delta else {}
    if packed:
        given = {n: t.clone() for n, t in given.items()}
        for t in given.values():
            t[:, cuts[-1] :] = float("nan")
    if raw:
        given |= {"A_log": torch.randn(HV), "dt_bias": torch.randn(HV * K)}
    return given | {
        "initial_state": x["h0"], "output_final_state": True,
        "cu_seqlens": torch.tensor(cuts) if packed else None,
    }  # fmt: skip


def gradients(run: Any, call: dict[str, Any], **more: Any) -> dict[str, Tensor]:
    """Return o, ht and all gradients."""
    leaves = {n: call[n].detach().clone().requires_grad_() for n in LEAVES if n in call}
    o, ht = run(**(call | leaves), **more)
    torch.manual_seed(1)
    do, dht = torch.randn(o.shape), torch.randn(ht.shape)
    if call["cu_seqlens"] is not None:
        do[:, call["cu_seqlens"][-1] :] = 0
    loss = (o * do.to(o.dtype)).sum() + (ht * dht.to(ht.dtype)).sum()
    found = torch.autograd.grad(loss, list(leaves.values()))
    return {"o": o.detach(), "ht": ht.detach()} | {
        f"d{n}": x for n, x in zip(leaves, found, strict=True)
    }


def wanted(call: dict[str, Any], *, delta: bool) -> dict[str, Tensor]:
    """Return the same from the token-by-token recurrence in fp64."""
    exact = {n: x.double().nan_to_num() if n in LEAVES else x for n, x in call.items()}
    exact.pop("output_final_state")
    return gradients(recurrent_reference, exact, delta=delta)


def chunk(delta: bool) -> Any:
    return ops.chunk_kda if delta else ops.chunk_gla


def problem(op: str, *, delta: bool, packed: bool = False) -> Problem:
    return Problem(
        op=op, H=H, HV=HV, K=K, V=V, dtype="fp32", tokens=B if op == "decode" else B * T,
        sequences=B, rule=Rule("vector", delta), varlen=packed, initial_state=True,
        final_state=True,
    )  # fmt: skip


def having(op: str) -> list[tuple[str, bool, bool]]:
    """Return plan, delta and packing of the cases with vector gates for an op."""
    target = interpreter_target()
    assert target is not None
    given = product(PLANS, (True, False), (False, True) if op != "decode" else (False,))
    return [
        (plan, delta, packed)
        for plan, delta, packed in given
        for p in [problem(op, delta=delta, packed=packed)]
        # The interpreter is slow: test only two cases of each plan of Triton kernels.
        if (plan == "torch" or op == "decode" or delta == packed)
        and not Variant.default(plan, p).reasons(p, target)
    ]


@pytest.mark.parametrize(("plan", "delta", "packed"), having("forward"))
def test_every_plan_with_vector_gates_equals_the_recurrence(
    plan: str, delta: bool, packed: bool
) -> None:
    given = call(delta=delta, packed=packed, tokens=T if plan == "torch" else FEW)
    with gdn_ops.using(plan), torch.no_grad():
        o, ht = chunk(delta)(**given)
    exact = wanted(given, delta=delta)
    assert_close("o", exact["o"], o, 1e-5)
    assert_close("ht", exact["ht"], ht, 1e-5)


@pytest.mark.parametrize(("plan", "delta", "packed"), having("backward"))
def test_gradients_of_every_plan_equal_those_of_the_recurrence(
    plan: str, delta: bool, packed: bool
) -> None:
    given = call(delta=delta, packed=packed, tokens=T if plan == "torch" else FEW)
    with gdn_ops.using(plan):
        found = gradients(chunk(delta), given)
    for name, exact in wanted(given, delta=delta).items():
        assert_close(name, exact, found[name], 1e-5 if name in ("o", "ht") else 1e-4)


@pytest.mark.parametrize(("plan", "delta", "_"), having("decode"))
def test_a_decode_step_continues_a_prefill(plan: str, delta: bool, _: bool) -> None:
    given = call(delta=delta, packed=False)
    per_token = [n for n in ("q", "k", "v", "g", "beta") if n in given]
    whole, ht_whole = chunk(delta)(**given)
    first, ht = chunk(delta)(**{**given, **{n: given[n][:, :-1] for n in per_token}})
    step = {**given, **{n: given[n][:, -1:] for n in per_token}, "initial_state": ht}
    recurrent = ops.fused_recurrent_kda if delta else ops.fused_recurrent_gla
    if not delta:
        step["gk"] = step.pop("g")
    with gdn_ops.using(plan):
        last, ht_last = recurrent(**step)
    assert_close("o", whole, torch.cat([first, last], dim=1), 1e-5)
    assert_close("ht", ht_whole, ht_last, 1e-5)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("v_first", [False, True])
def test_gradients_with_all_arguments(packed: bool, v_first: bool) -> None:
    given = call(delta=True, packed=packed, raw=True)
    given["q"], given["k"] = 3 * given["q"], 3 * given["k"]
    flags = dict.fromkeys(
        ("use_gate_in_kernel", "use_qk_l2norm_in_kernel", "use_beta_sigmoid_in_kernel",
         "allow_neg_eigval"), True,
    )  # fmt: skip

    def kda(initial_state: Tensor, **rest: Any) -> tuple[Tensor, Tensor]:
        h0 = initial_state.mT if v_first else initial_state
        o, ht = ops.chunk_kda(initial_state=h0, state_v_first=v_first, **rest)
        assert ht is not None
        return o, ht.mT if v_first else ht

    def reference(dt_bias: Tensor, **rest: Any) -> Any:
        return gated_delta_rule_reference(dt_bias=dt_bias.view(HV, K), **rest)

    found = gradients(kda, given, **flags)
    exact = {n: x.double().nan_to_num() if n in LEAVES else x for n, x in given.items()}
    for name, value in gradients(reference, exact, **flags).items():
        assert_close(name, value, found[name], 1e-5 if name in ("o", "ht") else 1e-4)


def test_dt_bias_may_be_flat_and_a_log_may_have_four_dimensions() -> None:
    given = call(delta=True, packed=False, raw=True) | {"use_gate_in_kernel": True}
    o, _ = ops.chunk_kda(**given)
    shaped = {"A_log": given["A_log"].view(1, 1, HV, 1), "dt_bias": given["dt_bias"].view(HV, K)}
    assert torch.equal(o, ops.chunk_kda(**(given | shaped))[0])


@pytest.mark.parametrize("delta", [True, False])
def test_a_compiled_call_equals_the_eager_one(delta: bool) -> None:
    given = call(delta=delta, packed=False, raw=delta)
    more = {"use_gate_in_kernel": True} if delta else {}
    torch.compiler.reset()
    compiled = torch.compile(chunk(delta), fullgraph=True, backend="aot_eager")
    eager = gradients(chunk(delta), given, **more)
    for name, value in gradients(compiled, given, **more).items():
        assert torch.equal(eager[name], value), name


@pytest.mark.parametrize("name", ["chunk_kda", "chunk_gla", "fused_recurrent_gated_delta_rule"])
def test_a_plan_without_vector_gates_is_refused(name: str) -> None:
    x = tensors()
    gate = "g" if name.startswith("chunk") else "gk"
    beta = {} if name == "chunk_gla" else {"beta": x["beta"]}
    rule = "vector-linear" if name == "chunk_gla" else "vector-delta"
    with gdn_ops.using("fused"), pytest.raises(UnsupportedProblem, match=rule):
        getattr(ops, name)(x["q"], x["k"], x["v"], **{gate: x["gk"]}, **beta)


def test_gates_per_head_and_per_channel_together_have_gradients() -> None:
    x, leaf = tensors(), tensors()["gk"].requires_grad_()
    o, _ = ops.fused_recurrent_gated_delta_rule(
        x["q"], x["k"], x["v"], x["g"], leaf, beta=x["beta"], initial_state=x["h0"]
    )
    exact = x["gk"].double().requires_grad_()
    o_ref, _ = recurrent_reference(
        *(x[n].double() for n in ("q", "k", "v")), x["g"].double()[..., None] + exact,
        x["beta"].double(), initial_state=x["h0"].double(),
    )  # fmt: skip
    (dgk_ref,), (dgk,) = (
        torch.autograd.grad(o_ref.square().sum(), exact),
        torch.autograd.grad(o.square().sum(), leaf),
    )
    assert_close("o", o_ref.detach(), o.detach(), 1e-5)
    assert_close("dgk", dgk_ref, dgk, 1e-4)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"g": torch.zeros(B, T, HV, 3)}, r"\[B, T, HV, K\] = \[2, 37, 4, 16\] for one decay"),
        (
            {"dt_bias": torch.zeros(5)},
            r"dt_bias has shape \[5\]; .* \[HV, K\] \(or flattened\) = \[4, 16",
        ),
        ({"dt_bias": torch.zeros(K)}, r"dt_bias has shape \[1, 16\]"),
        ({"A_log": torch.zeros(3)}, r"A_log has shape \[3\]; it must be \[HV\] = \[4\]"),
        ({"A_log": None}, "A_log is None"),
        ({"beta": torch.zeros(B, T, HV, V)}, r"beta has shape"),
        (
            {"g": torch.ones(B, T, HV, K), "use_gate_in_kernel": False},
            "log decay 1; it must be <= 0",
        ),
    ],
)
def test_what_is_refused(change: dict[str, Any], text: str) -> None:
    given = call(delta=True, packed=False, raw=True) | {"use_gate_in_kernel": True}
    with pytest.raises(InvalidInput, match=text):
        ops.chunk_kda(**(given | change))


@pytest.mark.parametrize(
    ("name", "more"),
    [("fused_recurrent_gla", {"reverse": True}), ("fused_recurrent_gla", {"gv": torch.zeros(1)}),
     ("chunk_kda", {"return_intermediate_states": True}), ("chunk_kda", {"cp_context": object()})],
)  # fmt: skip
def test_unsupported_arguments_are_refused(name: str, more: dict[str, Any]) -> None:
    x = tensors()
    beta = [x["beta"]] if name == "chunk_kda" else []
    with pytest.raises(UnsupportedProblem, match="yet"):
        getattr(ops, name)(x["q"], x["k"], x["v"], x["gk"], *beta, **more)


def test_float64_is_computed_in_float64() -> None:
    given = call(delta=True, packed=False)
    exact = {n: x.double() if n in LEAVES else x for n, x in given.items()}
    o, _ = ops.chunk_kda(**exact)
    assert o.dtype == torch.float64
    assert_close("o", wanted(given, delta=True)["o"], o, 1e-12)


def test_a_call_with_a_vector_gate_is_explained() -> None:
    x = tensors()
    text = str(gdn_ops.explain(x["q"].requires_grad_(), x["k"], x["v"], x["gk"], x["beta"]))
    assert "forward-vector-delta" in text and "backward-vector-delta" in text
    assert "plan cpp computes rules whose gate is none or scalar" in text


@pytest.mark.parametrize("op", ["forward", "backward", "decode"])
def test_a_vector_gate_can_be_warmed_up(op: str) -> None:
    raw = {"gate_in_kernel": True, "dt_bias": True}
    facts = {"H": H, "HV": HV, "K": K, "V": V, "dtype": "bf16", "sequences": 1, **raw}
    p = Problem(op=op, tokens=1 if op == "decode" else 64, rule=Rule("vector"), **facts)
    (choice,) = gdn_ops.warmup(p, "cpu")
    assert choice.variant.plan == "torch"


def test_sixteen_bit_inputs_are_within_their_bars() -> None:
    given = call(delta=True, packed=False)
    for name in ("q", "k", "v"):
        x = normalize(given[name], dim=-1) if name == "q" else given[name]
        given[name] = x.bfloat16()
    exact, found = wanted(given, delta=True), gradients(ops.chunk_kda, given)
    assert found["o"].dtype == torch.bfloat16 and found["dq"].dtype == torch.bfloat16
    for name, value in exact.items():
        bar = 0.005 if name in ("o", "ht") else 0.02 if name in ("dg", "dbeta") else 0.008
        assert_close(name, value, found[name], bar)


def test_float64_flags_are_computed_in_float64() -> None:
    given = call(delta=True, packed=False, raw=True)
    exact = {n: x.double() if n in LEAVES else x for n, x in given.items()}
    flags = dict.fromkeys(
        ("use_gate_in_kernel", "use_qk_l2norm_in_kernel", "use_beta_sigmoid_in_kernel"), True
    )
    o, _ = ops.chunk_kda(**exact, **flags)
    exact["dt_bias"] = exact["dt_bias"].view(HV, K)
    assert_close("o", gated_delta_rule_reference(**exact, **flags)[0], o, 1e-12)


@pytest.mark.parametrize("delta", [True, False])
def test_an_empty_batch_has_results(delta: bool) -> None:
    given = {n: x[:0] if n in LEAVES else x for n, x in call(delta=delta, packed=False).items()}
    o, ht = chunk(delta)(**given)
    assert o.shape == (0, T, HV, V) and ht.shape == (0, HV, K, V)
