"""GatedDeltaNet: its formula, sequences split over calls, gradients, initial values, refusals."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

import gdn_ops.layers.gated_deltanet as gated_deltanet
from gdn_ops.errors import InvalidInput, UnknownName
from gdn_ops.layers import DeltaNetCache, GatedDeltaNet
from gdn_ops.reference import gated_delta_rule_reference, l2norm, log_decay, recurrent_reference

GEOMETRY = {"hidden_size": 32, "expand_v": 1.5, "head_dim": 16, "num_heads": 2, "num_v_heads": 4}
VARIANTS = {
    "plain": {},
    "no-group": {"num_v_heads": None},
    "no-gate": {"use_gate": False},
    "no-conv": {"use_short_conv": False},
    "conv-bias": {"conv_bias": True, "conv_size": 3},
    "one-tap": {"conv_size": 1},
    "negative": {"allow_neg_eigval": True, "output_gate_activation": "sigmoid"},
    "recurrent": {"mode": "fused_recurrent"},
}


@pytest.fixture(params=["reference", "dispatch"])
def dtype(request, monkeypatch):
    """Run the layer in float64 on the reference, and in float32 on the dispatched ops."""
    if request.param == "dispatch":
        return torch.float32
    for name in ("chunk_gated_delta_rule", "fused_recurrent_gated_delta_rule"):
        monkeypatch.setattr(gated_deltanet, name, gated_delta_rule_reference)
    return torch.float64


@pytest.fixture
def float64(monkeypatch):
    for name in ("chunk_gated_delta_rule", "fused_recurrent_gated_delta_rule"):
        monkeypatch.setattr(gated_deltanet, name, gated_delta_rule_reference)
    return torch.float64


def layer_of(dtype, **options):
    torch.manual_seed(0)
    layer = GatedDeltaNet(**GEOMETRY | {"layer_idx": 3} | options)
    for parameter in layer.parameters():  # ones and zeros would hide a forgotten weight
        if parameter.ndim == 1:
            parameter.data += 0.3 * torch.randn_like(parameter)
    return layer.to(dtype).eval()


def hidden_states(dtype, B=2, T=70):
    rng = torch.Generator().manual_seed(1)
    return torch.randn(B, T, GEOMETRY["hidden_size"], generator=rng, dtype=dtype)


def assert_close(actual, expected):
    atol = 1e-11 if expected.dtype == torch.float64 else 2e-5
    torch.testing.assert_close(actual, expected, rtol=0, atol=atol)


def run_in_pieces(layer, x, lengths, **options):
    """Feed x piece by piece through one cache."""
    cache, outputs = DeltaNetCache(), []
    for piece in x.split(lengths, dim=1):
        o, _, cache = layer(piece, past_key_values=cache, **options)
        outputs.append(o)
    return torch.cat(outputs, dim=1), cache


def formula(layer, x, *, neg_eigval, gate_activation):
    """The layer written out from its state dict, for whole sequences."""
    weights = layer.state_dict()

    def mixed(name, dim):
        y = x @ weights[f"{name}_proj.weight"].T
        if f"{name}_conv1d.weight" in weights:
            taps, bias = (weights.get(f"{name}_conv1d.{n}") for n in ("weight", "bias"))
            y = F.conv1d(F.pad(y.mT, (taps.shape[-1] - 1, 0)), taps, bias, groups=len(taps)).mT
        return F.silu(y).unflatten(-1, (-1, dim))

    q, k, v = mixed("q", 16), mixed("k", 16), mixed("v", 24)
    g = log_decay(x @ weights["a_proj.weight"].T, weights["A_log"], weights["dt_bias"])
    beta = torch.sigmoid(x @ weights["b_proj.weight"].T) * (2 if neg_eigval else 1)
    o, _ = recurrent_reference(l2norm(q), l2norm(k), v, g, beta)
    o = o / (o.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weights["o_norm.weight"]
    if "g_proj.weight" in weights:
        o = o * gate_activation(x @ weights["g_proj.weight"].T).view(o.shape)
    return o.flatten(-2) @ weights["o_proj.weight"].T


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_one_pass_equals_the_formula(variant, dtype):
    layer, x = layer_of(dtype, **VARIANTS[variant]), hidden_states(dtype)
    negative = variant == "negative"
    activation = torch.sigmoid if negative else F.silu
    assert_close(layer(x)[0], formula(layer, x, neg_eigval=negative, gate_activation=activation))


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_prefill_then_decode_equals_one_pass(variant, dtype):
    layer, x = layer_of(dtype, **VARIANTS[variant]), hidden_states(dtype)
    expected, _, no_cache = layer(x)
    assert no_cache is None
    for lengths in ([66, 1, 1, 1, 1], [1, 1, 1, 2, 5, 60], [33, 37]):
        o, _ = run_in_pieces(layer, x, lengths)
        assert_close(o, expected)


@torch.no_grad()
def test_use_cache_starts_a_cache(dtype):
    layer, x = layer_of(dtype), hidden_states(dtype)
    _, _, cache = layer(x[:, :69], use_cache=True)
    before = cache.layers[3].recurrent.clone()
    o, _, same = layer(x[:, 69:], past_key_values=cache, use_cache=True)
    assert same is cache
    assert not torch.equal(cache.layers[3].recurrent, before)
    assert_close(o, layer(x)[0][:, 69:])
    assert cache.layers[3].recurrent.shape == (2, 4, 16, 24)
    assert [s.shape for s in cache.layers[3].conv] == [(2, 32, 3), (2, 32, 3), (2, 96, 3)]


@torch.no_grad()
def test_calls_leave_earlier_states_alone(dtype):
    """A caller can return to an earlier state, as in speculative decoding."""
    layer, x = layer_of(dtype), hidden_states(dtype)
    _, _, cache = layer(x[:, :9], use_cache=True)
    state = cache.layers[3]
    first, _, _ = layer(x[:, 9:10], past_key_values=cache)
    again, _, _ = layer(x[:, 9:10], past_key_values=DeltaNetCache({3: state}))
    assert torch.equal(first, again)


@pytest.mark.parametrize("side", ["left", "right"])
@torch.no_grad()
def test_padding_changes_nothing(side, dtype):
    layer, x, lengths = layer_of(dtype), hidden_states(dtype, B=4, T=20), (20, 13, 2, 0)
    position = torch.arange(20)
    mask = torch.stack([position < n for n in lengths]).long()
    mask = mask.flip(1) if side == "left" else mask
    garbage = torch.where(mask.bool()[..., None], x, torch.tensor(math.nan, dtype=dtype))
    o, _, cache = layer(garbage, attention_mask=mask, use_cache=True)
    assert o[~mask.bool()].eq(0).all()
    for b, _n in enumerate(lengths[:3]):
        alone, _, alone_cache = layer(x[b : b + 1, mask[b].bool()], use_cache=True)
        assert_close(o[b, mask[b].bool()], alone[0])
        assert_close(cache.layers[3].recurrent[b], alone_cache.layers[3].recurrent[0])
        for state, alone_state in zip(
            cache.layers[3].conv, alone_cache.layers[3].conv, strict=True
        ):
            assert_close(state[b], alone_state[0])
    assert cache.layers[3].recurrent[3].eq(0).all()


@torch.no_grad()
def test_decode_continues_after_left_padding(dtype):
    layer, x = layer_of(dtype), hidden_states(dtype, B=2, T=12)
    mask = torch.ones(2, 12)
    mask[1, :5] = 0
    _, _, cache = layer(x[:, :10], attention_mask=mask[:, :10], use_cache=True)
    for t in (10, 11):
        o, _, cache = layer(x[:, t : t + 1], mask[:, : t + 1], cache)
        assert_close(o[0], layer(x[:1, : t + 1])[0][0, -1:])
        assert_close(o[1], layer(x[1:, 5 : t + 1])[0][0, -1:])


@torch.no_grad()
def test_packed_sequences_do_not_mix(dtype):
    layer, x = layer_of(dtype), hidden_states(dtype, B=1, T=60)
    cu, cuts = torch.tensor([0, 2, 2, 35, 60], dtype=torch.int32), [(0, 2), (2, 35), (35, 60)]
    o, _, cache = layer(x, use_cache=True, cu_seqlens=cu)
    expected = torch.cat([layer(x[:, s:e])[0] for s, e in cuts], dim=1)
    assert_close(o, expected)
    more, next_cu = hidden_states(dtype, B=1, T=5), torch.tensor([0, 1, 3, 3, 5])
    o, _, _ = layer(more, past_key_values=cache, cu_seqlens=next_cu)
    whole = [torch.cat([x[:, 0:2], more[:, 0:1]], 1), more[:, 1:3]]
    whole += [torch.cat([x[:, 35:60], more[:, 3:5]], 1)]
    expected = torch.cat([layer(w)[0][:, -n:] for w, n in zip(whole, (1, 2, 2), strict=True)], 1)
    assert_close(o, expected)


def test_every_parameter_gets_the_gradient_of_the_function(float64):
    layer = layer_of(float64, conv_bias=True).train()
    x = hidden_states(float64, B=1, T=6)
    loss = layer(x)[0].square().sum()
    loss.backward()
    step = 1e-6
    for name, parameter in layer.named_parameters():
        direction = torch.randn_like(parameter)
        slope = (parameter.grad * direction).sum()
        assert slope.abs() > 1e-9, name
        with torch.no_grad():
            parameter += step * direction
            above = layer(x)[0].square().sum()
            parameter -= 2 * step * direction
            below = layer(x)[0].square().sum()
            parameter += step * direction
        torch.testing.assert_close(slope, (above - below) / (2 * step), rtol=1e-5, atol=1e-8)


def test_gradients_of_the_dispatched_ops(monkeypatch):
    def gradients():
        layer = layer_of(torch.float32).train()
        layer(hidden_states(torch.float32))[0].square().sum().backward()
        return {name: p.grad for name, p in layer.named_parameters()}

    actual = gradients()
    monkeypatch.setattr(gated_deltanet, "chunk_gated_delta_rule", gated_delta_rule_reference)
    for name, expected in gradients().items():
        error = (actual[name] - expected).square().mean().sqrt()
        assert error <= 1e-4 * expected.square().mean().sqrt(), name


def test_initialisation():
    torch.manual_seed(0)
    layer = GatedDeltaNet(hidden_size=8, head_dim=4, num_heads=512)
    A, dt = layer.A_log.exp(), F.softplus(layer.dt_bias)
    assert 0 < A.min() < 0.5 < 15.5 < A.max() <= 16
    assert 0.001 * (1 - 1e-3) <= dt.min() < 0.0012 < 0.08 < dt.max() <= 0.1 * (1 + 1e-3)
    assert abs(dt.log().mean() - math.log(0.01)) < 0.15
    assert layer.A_log._no_weight_decay
    assert layer.dt_bias._no_weight_decay
    assert layer.o_norm.weight.eq(1).all()


@pytest.mark.parametrize(
    ("T", "grad", "mode", "op"),
    [
        (1, False, "chunk", "fused_recurrent_gated_delta_rule"),
        (1, True, "chunk", "chunk_gated_delta_rule"),
        (9, False, "chunk", "chunk_gated_delta_rule"),
        (9, False, "fused_recurrent", "fused_recurrent_gated_delta_rule"),
        (9, True, "fused_recurrent", "chunk_gated_delta_rule"),
    ],
)
def test_which_op_runs(T, grad, mode, op, float64, monkeypatch):
    calls = []

    def spy(**arguments):
        calls.append(arguments)
        return gated_delta_rule_reference(**arguments)

    monkeypatch.setattr(gated_deltanet, op, spy)
    with torch.set_grad_enabled(grad):
        layer_of(float64, mode=mode)(hidden_states(float64, T=T))
    assert len(calls) == 1


def test_half_precision():
    layer, x = layer_of(torch.float32), hidden_states(torch.float32)
    with torch.no_grad():
        expected = layer(x)[0]
        layer = layer.bfloat16()
        o, cache = run_in_pieces(layer, x.bfloat16(), [60, 9, 1])
    assert o.dtype == torch.bfloat16
    assert cache.layers[3].recurrent.dtype == torch.float32
    error = (o.float() - expected).square().mean().sqrt() / expected.square().mean().sqrt()
    assert error < 0.02


BAD_LAYERS = [
    ({"num_v_heads": 3}, InvalidInput, "num_v_heads=3 is not a multiple of num_heads=2"),
    ({"head_dim": 15}, InvalidInput, "is not an integer"),
    ({"mode": "chunks"}, UnknownName, "did you mean 'chunk'"),
    ({"output_gate_activation": "gelu"}, UnknownName, "sigmoid, silu, swish"),
]


@pytest.mark.parametrize(("options", "error", "message"), BAD_LAYERS)
def test_wrong_geometry_is_refused(options, error, message):
    with pytest.raises(error, match=message):
        GatedDeltaNet(**GEOMETRY | options)


def test_wrong_calls_are_refused(float64):
    layer, x = layer_of(float64), hidden_states(float64)
    with pytest.raises(InvalidInput, match="attention_mask and cu_seqlens are both given"):
        layer(x, torch.ones(2, 70), cu_seqlens=torch.tensor([0, 70]))
    with pytest.raises(InvalidInput, match="at least T=70"):
        layer(x, torch.ones(2, 69))
    with pytest.raises(InvalidInput, match="layer_idx=None"):
        layer_of(float64, layer_idx=None)(x, use_cache=True)
    _, _, cache = layer(x, use_cache=True)
    with pytest.raises(InvalidInput, match="holds 2 sequences and the call has 1"):
        layer(x[:1], past_key_values=cache)
