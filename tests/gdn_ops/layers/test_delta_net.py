"""The DeltaNet layer: its formula, sequences split over calls, refusals, FLA's state dict."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import gdn_ops.layers.delta_net as delta_net
from gdn_ops.errors import InvalidInput, UnknownName
from gdn_ops.layers import DeltaNet, DeltaNetCache
from gdn_ops.reference import gated_delta_rule_reference, l2norm, recurrent_reference
from tests.close import assert_close

GEOMETRY = {"hidden_size": 32, "expand_k": 1.0, "expand_v": 1.5, "num_heads": 2, "layer_idx": 3}
VARIANTS = {
    "plain": {},
    "gate": {"use_gate": True},
    "no-beta": {"use_beta": False},
    "no-conv": {"use_short_conv": False},
    "conv-bias": {"conv_bias": True, "conv_size": 3},
    "negative": {"allow_neg_eigval": True},
    "relu-sum": {"qk_activation": "relu", "qk_norm": "sum", "conv_bias": True},
    "elu-sum": {"qk_activation": "elu", "qk_norm": "sum"},
    "identity": {"qk_activation": "identity", "mode": "fused_recurrent"},
}
ACTIVATIONS = {"relu": F.relu, "elu": lambda x: F.elu(x) + 1, "identity": lambda x: x}


@pytest.fixture
def float64(monkeypatch: pytest.MonkeyPatch) -> torch.dtype:
    """Run the layer in float64 on the reference."""
    for name in ("chunk_gated_delta_rule", "fused_recurrent_gated_delta_rule"):
        monkeypatch.setattr(delta_net, name, gated_delta_rule_reference)
    return torch.float64


def layer_of(dtype: torch.dtype, **options: object) -> DeltaNet:
    torch.manual_seed(0)
    layer = DeltaNet(**GEOMETRY | options)
    for name, parameter in layer.named_parameters():  # ones and zeros would hide a forgotten one
        if name.endswith("conv1d.bias"):
            parameter.data += 1  # keeps sums of relu away from zero
        elif parameter.ndim == 1:
            parameter.data += 0.3 * torch.randn_like(parameter)
    return layer.to(dtype).eval()


def hidden_states(dtype: torch.dtype, B: int = 2, T: int = 20) -> torch.Tensor:
    return torch.randn(B, T, 32, generator=torch.Generator().manual_seed(1), dtype=dtype)


def formula(layer: DeltaNet, x: torch.Tensor, options: dict) -> torch.Tensor:
    """The layer written out from its state dict, for whole sequences."""
    weights = layer.state_dict()
    activation = ACTIVATIONS.get(options.get("qk_activation"), F.silu)

    def mixed(name, dim):
        y = x @ weights[f"{name}_proj.weight"].T
        if f"{name}_conv1d.weight" in weights:
            taps, bias = (weights.get(f"{name}_conv1d.{n}") for n in ("weight", "bias"))
            y = F.conv1d(F.pad(y.mT, (taps.shape[-1] - 1, 0)), taps, bias, groups=len(taps)).mT
        return (F.silu if name == "v" else activation)(y).unflatten(-1, (-1, dim))

    q, k, v = mixed("q", 16), mixed("k", 16), mixed("v", 24)
    if options.get("qk_norm") == "sum":
        q, k = q / q.sum(-1, keepdim=True), k / k.sum(-1, keepdim=True)
    else:
        q, k = l2norm(q), l2norm(k)
    beta = torch.ones_like(v[..., 0])
    if "b_proj.weight" in weights:
        beta = torch.sigmoid(x @ weights["b_proj.weight"].T)
    beta = beta * (2 if options.get("allow_neg_eigval") else 1)
    o, _ = recurrent_reference(q, k, v, None, beta)
    o = o / (o.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weights["o_norm.weight"]
    if "g_proj.weight" in weights:
        o = o * F.silu(x @ weights["g_proj.weight"].T).view(o.shape)
    return o.flatten(-2) @ weights["o_proj.weight"].T


@pytest.mark.parametrize("name", VARIANTS)
@torch.no_grad()
def test_one_pass_equals_the_formula(name: str, float64: torch.dtype) -> None:
    layer, x = layer_of(float64, **VARIANTS[name]), hidden_states(float64)
    assert_close("o", formula(layer, x, VARIANTS[name]), layer(x)[0], 1e-11)


@pytest.mark.parametrize("name", ["plain", "gate", "no-beta", "no-conv"])
@torch.no_grad()
def test_dispatched_ops_in_pieces_equal_the_formula(name: str) -> None:
    layer, x = layer_of(torch.float32, **VARIANTS[name]), hidden_states(torch.float32)
    cache, outputs = DeltaNetCache(), []
    for piece in x.split([1, 14, 3, 1, 1], dim=1):
        outputs.append(layer(piece, past_key_values=cache)[0])
    assert_close("o", formula(layer, x, VARIANTS[name]), torch.cat(outputs, dim=1), 1e-5)


@torch.no_grad()
def test_padding_and_packing_change_nothing() -> None:
    layer, x = layer_of(torch.float32), hidden_states(torch.float32)
    mask = torch.ones(2, 20)
    mask[1, :7] = 0
    o, _, _ = layer(x, attention_mask=mask)
    alone = layer(x[1:, 7:])[0]
    assert_close("padded", alone, o[1:, 7:], 1e-5)
    packed = torch.cat([x[:1], x[1:, 7:]], dim=1)
    o, _, _ = layer(packed, cu_seqlens=torch.tensor([0, 20, 33]))
    assert_close("packed", torch.cat([layer(x[:1])[0], alone], dim=1), o, 1e-5)


def test_every_parameter_gets_the_gradient_of_the_function(float64: torch.dtype) -> None:
    layer = layer_of(float64, use_gate=True, conv_bias=True)
    x = hidden_states(float64, B=1, T=6)
    layer(x)[0].square().sum().backward()
    for name, parameter in layer.named_parameters():
        direction, step = torch.randn_like(parameter), 1e-6
        losses = []
        with torch.no_grad():
            for shift in (step, -2 * step):
                parameter += shift * direction
                losses.append(layer(x)[0].square().sum())
            parameter += step * direction
        slope = (parameter.grad * direction).sum()
        assert slope.abs() > 1e-9, name
        torch.testing.assert_close(
            slope, (losses[0] - losses[1]) / (2 * step), rtol=1e-5, atol=1e-8
        )


BAD = [
    (
        {"num_heads": 3},
        InvalidInput,
        r"expand_k = 32 \* 1.0 = 32.0 does not split into num_heads=3",
    ),
    ({"expand_v": 1.01}, InvalidInput, "choose expand_v"),
    ({"mode": "chunks"}, UnknownName, "did you mean 'chunk'"),
    ({"qk_activation": "gelu"}, UnknownName, "gelu"),
    ({"qk_norm": "l1"}, UnknownName, "l1"),
]


@pytest.mark.parametrize(("options", "error", "message"), BAD)
def test_wrong_geometry_is_refused(options: dict, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        DeltaNet(**GEOMETRY | options)


def test_state_dict_is_that_of_flash_linear_attention() -> None:
    """Names and shapes as in fla.layers.DeltaNet 0.6."""
    expected = {
        "q_proj.weight": (32, 32), "k_proj.weight": (32, 32), "v_proj.weight": (48, 32),
        "b_proj.weight": (2, 32), "q_conv1d.weight": (32, 1, 4), "k_conv1d.weight": (32, 1, 4),
        "v_conv1d.weight": (48, 1, 4), "o_norm.weight": (24,), "o_proj.weight": (32, 48),
    }  # fmt: skip
    biases = {"q_conv1d.bias": (32,), "k_conv1d.bias": (32,), "v_conv1d.bias": (48,)}

    def shapes(**options: object) -> dict[str, tuple[int, ...]]:
        state = DeltaNet(**GEOMETRY | options).state_dict()
        return {name: tuple(x.shape) for name, x in state.items()}

    assert shapes() == expected
    assert shapes(use_gate=True) == expected | {"g_proj.weight": (48, 32)}
    assert shapes(conv_bias=True) == expected | biases
    assert "b_proj.weight" not in shapes(use_beta=False)


@pytest.mark.filterwarnings("ignore:ShortConvolution is crucial")
@pytest.mark.parametrize("options", [{}, {"conv_bias": True}, {"use_gate": True}], ids=str)
def test_state_dicts_are_exchanged(options: dict) -> None:
    fla = pytest.importorskip("fla.layers.delta_net")
    theirs, ours = fla.DeltaNet(**GEOMETRY, **options), DeltaNet(**GEOMETRY, **options)
    ours.load_state_dict(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())
    assert list(ours.state_dict()) == list(theirs.state_dict())
