"""The recurrent function's own arguments: decays and writing strengths per channel."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor
from torch.nn.functional import softplus

import gdn_ops
from gdn_ops.errors import InvalidInput
from tests.close import assert_close
from tests.gdn_ops.ops.calls import call

B, T, HV, K, V = 2, 13, 4, 16, 32


def recurrence(x: dict[str, Tensor], cuts: tuple[int, ...] = ()) -> tuple[Tensor, Tensor]:
    """Return o and the last state, token by token in fp64; each sequence starts from zeros."""
    group = HV // x["q"].shape[2]
    q, k = (x[n].double().repeat_interleave(group, dim=2) for n in ("q", "k"))
    S, o = x["initial_state"].double(), []
    for t in range(q.shape[1]):
        if t in cuts:
            S = torch.zeros_like(S)
        decay = x["g"][:, t, :, None, None] + x["gk"][:, t, :, :, None] + x["gv"][:, t, :, None]
        S = S * decay.double().exp()
        error = x["v"][:, t].double() - torch.einsum("bhkv,bhk->bhv", S, k[:, t])
        S = S + torch.einsum("bhk,bhv->bhkv", k[:, t], x["beta"][:, t].double() * error)
        o.append(K**-0.5 * torch.einsum("bhkv,bhk->bhv", S, q[:, t]))
    return torch.stack(o, dim=1), S


def inputs() -> dict[str, Tensor]:
    x = {n: t for n, t in call(B=B, T=T).items() if isinstance(t, Tensor)}
    return x | {"gk": -torch.rand(B, T, HV, K), "gv": -torch.rand(B, T, HV, V)}


@pytest.mark.parametrize(("g", "gk", "gv", "wide"), list(product((False, True), repeat=4)))
def test_every_combination_of_gates_per_channel(g: bool, gk: bool, gv: bool, wide: bool) -> None:
    x = inputs()
    x["beta"] = torch.rand(B, T, HV, V) if wide else x["beta"]
    given = {n: x[n] for n, on in (("g", g), ("gk", gk), ("gv", gv)) if on}
    o, ht = gdn_ops.fused_recurrent_gated_delta_rule(
        x["q"], x["k"], x["v"], **given, beta=x["beta"],
        initial_state=x["initial_state"], output_final_state=True,
    )  # fmt: skip
    off = {n: torch.zeros_like(x[n]) for n in ("g", "gk", "gv") if n not in given}
    beta = x["beta"] if wide else x["beta"][..., None]
    o_ref, ht_ref = recurrence(x | off | {"beta": beta})
    assert_close("o", o_ref, o, 1e-5)
    assert_close("ht", ht_ref, ht, 1e-5)


def test_flags_combine_with_channels() -> None:
    x, raw, A_log, dt_bias = inputs(), torch.randn(B, T, HV), torch.randn(HV), torch.randn(HV)
    o, ht = gdn_ops.fused_recurrent_gated_delta_rule(
        3 * x["q"], 3 * x["k"], x["v"], raw, gv=x["gv"], beta=x["beta"].logit(),
        initial_state=x["initial_state"].mT.contiguous(), output_final_state=True,
        use_qk_l2norm_in_kernel=True, use_gate_in_kernel=True, A_log=A_log, dt_bias=dt_bias,
        use_beta_sigmoid_in_kernel=True, allow_neg_eigval=True, state_v_first=True,
    )  # fmt: skip
    x |= {"g": -A_log.exp() * softplus(raw + dt_bias), "gk": torch.zeros(B, T, HV, K)}
    o_ref, ht_ref = recurrence(x | {"beta": 2 * x["beta"][..., None]})
    assert_close("o", o_ref, o, 1e-5)
    assert_close("ht", ht_ref.mT, ht, 1e-5)


def test_channels_of_packed_sequences() -> None:
    x = {n: t if n == "initial_state" else t[:1] for n, t in inputs().items()}
    first = {n: t[:1] if n == "initial_state" else t[:, :5] for n, t in x.items()}
    rest = {n: t[1:] if n == "initial_state" else t[:, 5:] for n, t in x.items()}
    o, ht = gdn_ops.fused_recurrent_gated_delta_rule(
        **x, output_final_state=True, cu_seqlens=torch.tensor([0, 5, T])
    )
    beta = [{"beta": y["beta"][..., None]} for y in (first, rest)]
    wanted = [recurrence(y | b) for y, b in zip((first, rest), beta, strict=True)]
    assert_close("o", torch.cat([o for o, _ in wanted], dim=1), o, 1e-5)
    assert_close("ht", torch.cat([ht for _, ht in wanted]), ht, 1e-5)


@pytest.mark.parametrize("name", ["gk", "gv", "beta"])
@pytest.mark.parametrize("v_first", [False, True])
def test_channels_of_an_empty_batch(name: str, v_first: bool) -> None:
    x = {n: t[:0] for n, t in inputs().items() if n not in ("gk", "gv")}
    x[name] = torch.zeros(0, T, HV, K if name == "gk" else V)
    o, ht = gdn_ops.fused_recurrent_gated_delta_rule(
        **x | {"initial_state": None}, output_final_state=True, state_v_first=v_first
    )
    assert ht is not None
    assert o.shape == (0, T, HV, V)
    assert ht.shape == ((0, HV, V, K) if v_first else (0, HV, K, V))


@pytest.mark.parametrize(("name", "size"), [("gk", V), ("gv", K), ("beta", K)])
def test_wrong_channels_are_refused(name: str, size: int) -> None:
    x = inputs() | {name: torch.zeros(B, T, HV, size)}
    with pytest.raises(InvalidInput, match=rf"{name} has shape \[2, 13, 4, {size}\]"):
        gdn_ops.fused_recurrent_gated_delta_rule(**x)


@pytest.mark.parametrize(
    ("more", "kind"),
    [({"nonsense": 3}, TypeError), ({"head_first": True}, InvalidInput),
     ({"allow_neg_eigval": True}, InvalidInput)],
)  # fmt: skip
def test_unsupported_arguments_are_refused_with_channels_too(
    more: dict[str, object], kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        gdn_ops.fused_recurrent_gated_delta_rule(**inputs(), **more)
