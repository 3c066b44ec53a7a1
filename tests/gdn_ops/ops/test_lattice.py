"""The public functions of the other rules (DeltaNet, DeltaProduct, GLA, KDA, ...), against fp64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize, softplus

from gdn_ops import ops
from gdn_ops.errors import InvalidInput, UnsupportedProblem
from gdn_ops.reference import recurrent_reference
from tests.close import assert_close

B, T, H, HV, K, V = 2, 37, 2, 4, 16, 24


def tensors(dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {
        "q": torch.randn(B, T, H, K).to(dtype),
        "k": normalize(torch.randn(B, T, H, K), dim=-1).to(dtype),
        "v": torch.randn(B, T, HV, V).to(dtype),
        "g": -torch.rand(B, T, HV),
        "gk": -torch.rand(B, T, HV, K),
        "beta": torch.rand(B, T, HV),
        "h0": torch.randn(B, HV, K, V),
    }


def wide(x: dict[str, Tensor], g: Tensor | None, *, delta: bool) -> tuple[Tensor, Tensor]:
    return recurrent_reference(
        x["q"].double(), x["k"].double(), x["v"].double(), None if g is None else g.double(),
        x["beta"].double() if delta else None, delta=delta, initial_state=x["h0"].double(),
    )  # fmt: skip


RETENTION = torch.log(1 - 2.0 ** (-5 - torch.arange(HV).double()))
RULES: dict[str, tuple[str, str | None, bool]] = {
    "chunk_delta_rule": ("beta", None, True),
    "chunk_kda": ("gk beta", "gk", True),
    "chunk_simple_gla": ("g", "g", False),
    "chunk_gla": ("gk", "gk", False),
    "chunk_retention": ("", "retention", False),
}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("v_first", [False, True])
def test_each_rule_equals_its_recurrence(name: str, v_first: bool) -> None:
    x = tensors() | {"retention": RETENTION.expand(B, T, HV)}
    given, gate, delta = RULES[name]
    h0 = x["h0"].transpose(-1, -2).contiguous() if v_first else x["h0"]
    o, ht = getattr(ops, name)(
        x["q"], x["k"], x["v"], *(x[n] for n in given.split()),
        initial_state=h0, output_final_state=True, state_v_first=v_first,
    )  # fmt: skip
    o_ref, ht_ref = wide(x, None if gate is None else x[gate], delta=delta)
    assert_close("o", o_ref, o, 1e-5)
    assert_close("ht", ht_ref.transpose(-1, -2) if v_first else ht_ref, ht, 1e-5)


@pytest.mark.parametrize("gated", [False, True])
def test_a_product_decays_once_and_writes_at_every_step(gated: bool) -> None:
    steps, x = 3, tensors()
    k = normalize(torch.randn(B, T * steps, H, K), dim=-1)
    v, beta = torch.randn(B, T * steps, HV, V), torch.rand(B, T * steps, HV)
    g = x["g"] if gated else None
    o, ht = ops.chunk_gated_delta_product(
        x["q"], k, v, g, beta, steps, initial_state=x["h0"], output_final_state=True
    )
    S = x["h0"].double()
    for t in range(T):
        if gated:
            S = S * x["g"][:, t, :, None, None].double().exp()
        for i in range(t * steps, (t + 1) * steps):
            k_i = k[:, i].double().repeat_interleave(HV // H, dim=1)
            error = v[:, i].double() - torch.einsum("bhkv,bhk->bhv", S, k_i)
            S = S + torch.einsum("bhk,bhv,bh->bhkv", k_i, error, beta[:, i].double())
        q_t = x["q"][:, t].double().repeat_interleave(HV // H, dim=1)
        assert_close("o", torch.einsum("bhkv,bhk->bhv", S, q_t) * K**-0.5, o[:, t], 1e-5)
    assert_close("ht", S, ht, 1e-5)


def test_kda_accepts_all_arguments_of_its_signature() -> None:
    x = tensors(torch.bfloat16)
    raw, A_log, dt_bias = torch.randn(B, T, HV, K), torch.randn(HV), torch.randn(HV * K)
    b = torch.randn(B, T, HV)
    o, _ = ops.chunk_kda(
        x["q"], x["k"], x["v"], raw, b, use_qk_l2norm_in_kernel=True, use_gate_in_kernel=True,
        A_log=A_log, dt_bias=dt_bias, use_beta_sigmoid_in_kernel=True, allow_neg_eigval=True,
        safe_gate=False, lower_bound=None,
    )  # fmt: skip
    g = -A_log[:, None].exp() * softplus(raw + dt_bias.view(HV, K))
    x |= {"q": normalize(x["q"].float(), dim=-1), "k": normalize(x["k"].float(), dim=-1)}
    x |= {"beta": 2 * b.sigmoid(), "h0": torch.zeros(B, HV, K, V)}
    assert o.dtype == torch.bfloat16
    assert_close("o", wide(x, g, delta=True)[0], o, 5e-3)


def test_packed_sequences_and_gradients() -> None:
    x = {n: t[:1] if n != "h0" else t for n, t in tensors().items()}
    cu = torch.tensor([0, 11, T])
    q = x["q"].requires_grad_()
    o, ht = ops.chunk_simple_gla(
        q, x["k"], x["v"], x["g"], initial_state=x["h0"], output_final_state=True, cu_seqlens=cu
    )
    assert ht is not None
    o_ref, ht_ref = recurrent_reference(
        *(x[n].detach().double() for n in ("q", "k", "v", "g")),
        delta=False, initial_state=x["h0"].double(), cu_seqlens=cu,
    )  # fmt: skip
    assert_close("o", o_ref, o.detach(), 1e-5)
    assert_close("ht", ht_ref, ht.detach(), 1e-5)
    o.sum().backward()
    assert q.grad is not None and q.grad.abs().sum() > 0


BAD: dict[str, tuple[str, dict[str, Any], type[Exception], str]] = {
    "no rows": (
        "chunk_gated_delta_product",
        {"num_householder": 2},
        InvalidInput,
        "k has 37 steps",
    ),
    "no steps": (
        "chunk_gated_delta_product",
        {"num_householder": 0},
        InvalidInput,
        "an integer >= 1",
    ),
    "not built": (
        "chunk_kda",
        {"use_graph": True},
        UnsupportedProblem,
        "not support use_graph yet",
    ),
    "no rate": ("chunk_kda", {"use_gate_in_kernel": True}, InvalidInput, "A_log is None"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_refused(case: str) -> None:
    name, change, kind, text = BAD[case]
    x = tensors()
    gate = x["gk"] if name == "chunk_kda" else x["g"]
    with pytest.raises(kind, match=text):
        getattr(ops, name)(x["q"], x["k"], x["v"], gate, x["beta"], **change)


def test_nan_in_the_padding_does_not_reach_the_gradient_of_the_gate() -> None:
    x = {n: t[:1].clone() for n, t in tensors().items()}
    for name in ("q", "k", "v", "gk", "beta"):
        x[name][:, 30:] = float("nan")
    A_log, bias = torch.randn(HV).requires_grad_(), torch.randn(HV * K).requires_grad_()
    g = x["gk"].requires_grad_()
    o, _ = ops.chunk_kda(
        x["q"], x["k"], x["v"], g, x["beta"], use_gate_in_kernel=True, A_log=A_log, dt_bias=bias,
        cu_seqlens=torch.tensor([0, 30]), use_qk_l2norm_in_kernel=True,
    )  # fmt: skip
    o.sum().backward()
    for leaf in (A_log, bias, g):
        assert leaf.grad is not None and leaf.grad.isfinite().all()


def test_autocast_changes_nothing() -> None:
    x = tensors()
    o, _ = ops.chunk_gla(x["q"], x["k"], x["v"], x["gk"])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside, _ = ops.chunk_gla(x["q"], x["k"], x["v"], x["gk"])
    assert torch.equal(o, inside)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"q": [1.0]}, "q is a list"),
        ({"q": torch.ones(B, T, H, K, dtype=torch.int32)}, "q is torch.int32"),
        ({"v": torch.ones(B, T, HV, V, dtype=torch.float16)}, "v is torch.float16"),
        ({"g": torch.zeros(B, T, HV, 3)}, r"g has shape \[2, 37, 4, 3\]"),
        ({"scale": float("nan")}, "scale=nan is not finite"),
        ({"cu_seqlens": torch.tensor([0.0, 3.7])}, "cu_seqlens"),
    ],
)
def test_arguments_that_every_rule_refuses(change: dict[str, Any], text: str) -> None:
    x = tensors()
    given = {"q": x["q"], "k": x["k"], "v": x["v"], "g": x["gk"]} | change
    with pytest.raises(InvalidInput, match=text):
        ops.chunk_gla(**given)
