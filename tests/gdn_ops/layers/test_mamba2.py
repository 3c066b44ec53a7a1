"""Mamba2 equals the layer of transformers, also when a sequence is split over calls."""

from __future__ import annotations

import pytest
import torch

from gdn_ops.errors import InvalidInput
from gdn_ops.layers import DeltaNetCache, Mamba2
from tests.close import assert_close

GEOMETRY = {"hidden_size": 24, "num_heads": 6, "head_dim": 8, "state_size": 16, "expand": 2}


def layer_of(**options: object) -> Mamba2:
    torch.manual_seed(0)
    layer = Mamba2(**GEOMETRY | {"layer_idx": 0, "n_groups": 2} | options)
    for parameter in layer.parameters():  # ones and zeros would hide a forgotten weight
        if parameter.ndim == 1:
            parameter.data += 0.3 * torch.randn_like(parameter)
    return layer.eval()


def hidden_states(B: int = 2, T: int = 20) -> torch.Tensor:
    return torch.randn(B, T, 24, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "options", [{}, {"n_groups": 1}, {"use_bias": True, "use_conv_bias": False}], ids=str
)
@torch.no_grad()
def test_it_equals_the_layer_of_transformers(options: dict) -> None:
    mamba2 = pytest.importorskip("transformers.models.mamba2.modeling_mamba2")
    ours = layer_of(**options)
    geometry = GEOMETRY | {"n_groups": 2} | options
    config = mamba2.Mamba2Config(**geometry, layer_norm_epsilon=1e-5, chunk_size=8)
    theirs = mamba2.Mamba2Mixer(config, layer_idx=0).eval()
    theirs.load_state_dict(ours.state_dict())
    x = hidden_states()
    expected = theirs(x)
    expected = expected[0] if isinstance(expected, tuple) else expected
    assert_close("o", expected, ours(x)[0], 1e-5)


@torch.no_grad()
def test_pieces_equal_one_pass() -> None:
    layer, x = layer_of(), hidden_states()
    cache, outputs = DeltaNetCache(), []
    for piece in x.split([1, 14, 3, 1, 1], dim=1):
        outputs.append(layer(piece, past_key_values=cache)[0])
    assert_close("o", layer(x)[0], torch.cat(outputs, dim=1), 1e-5)
    assert cache.layers[0].recurrent.shape == (2, 6, 16, 8)


@torch.no_grad()
def test_padding_and_packing_change_nothing() -> None:
    layer, x = layer_of(), hidden_states()
    mask = torch.ones(2, 20)
    mask[1, :7] = 0
    alone = layer(x[1:, 7:])[0]
    assert_close("padded", alone, layer(x, attention_mask=mask)[0][1:, 7:], 1e-5)
    packed = torch.cat([x[:1], x[1:, 7:]], dim=1)
    o, _, _ = layer(packed, cu_seqlens=torch.tensor([0, 20, 33]))
    assert_close("packed", torch.cat([layer(x[:1])[0], alone], dim=1), o, 1e-5)


def test_every_parameter_gets_the_gradient_of_the_function() -> None:
    layer, x = layer_of().double(), hidden_states(B=1, T=6).double()
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


@torch.no_grad()
def test_half_precision() -> None:
    layer, x = layer_of(), hidden_states()
    expected = layer(x)[0]
    o, _, cache = layer.bfloat16()(x.bfloat16(), use_cache=True)
    assert o.dtype == torch.bfloat16
    assert cache.layers[0].recurrent.dtype == torch.float32
    assert_close("o", expected, o, 0.03)


def test_wrong_geometry_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"6 \* 8 is not expand \* hidden_size = 3 \* 24"):
        Mamba2(**GEOMETRY | {"expand": 3})
    with pytest.raises(InvalidInput, match="num_heads=6 is not a multiple of n_groups=4"):
        Mamba2(**GEOMETRY, n_groups=4)
