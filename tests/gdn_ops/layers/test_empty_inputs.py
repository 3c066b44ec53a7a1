"""Layers called with nothing to do: all padding, no rows, or no tokens."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gdn_ops.layers import DeltaNetCache, ShortConvolution
from gdn_ops.models import HYBRIDS, HybridConfig, HybridLanguageModel
from tests.gdn_ops.layers.small_layers import LAYERS, hidden_states, small_layer

EMPTY: dict[str, tuple[Tensor, dict[str, Tensor]]] = {
    "all padding": (hidden_states(), {"attention_mask": torch.zeros(2, 9)}),
    "no rows": (hidden_states(B=0), {}),
    "no rows, with a mask": (hidden_states(B=0), {"attention_mask": torch.ones(0, 9)}),
    "no tokens": (hidden_states(T=0), {}),
    "no tokens, with a mask": (hidden_states(T=0), {"attention_mask": torch.zeros(2, 3)}),
    "no tokens, packed": (
        hidden_states(B=1, T=0),
        {"cu_seqlens": torch.tensor([0, 0, 0])},
    ),
    "no tokens, one sequence": (hidden_states(B=1, T=0), {"cu_seqlens": torch.tensor([0, 0])}),
}


@pytest.mark.parametrize("use_cache", [False, True])
@pytest.mark.parametrize("case", EMPTY)
@pytest.mark.parametrize("name", LAYERS)
def test_empty_input_gives_zeros_and_zero_gradients(name: str, case: str, use_cache: bool) -> None:
    layer, (x, options) = small_layer(name), EMPTY[case]
    x = x.clone().requires_grad_()
    o, _, _ = layer(x, use_cache=use_cache, **options)
    assert torch.equal(o, torch.zeros_like(x))
    o.sum().backward()
    for parameter_name, tensor in [("x", x), *layer.named_parameters()]:
        assert tensor.grad is not None, parameter_name
        assert tensor.grad.eq(0).all(), parameter_name


@pytest.mark.parametrize("name", LAYERS)
@torch.no_grad()
def test_empty_calls_leave_the_cache_as_it_is(name: str) -> None:
    layer, x, cache = small_layer(name), hidden_states(), DeltaNetCache()
    expected, _, _ = layer(x)
    padding = torch.zeros(2, 9)
    pieces = []
    for piece in (x[:, :0], x[:, :6], x[:, :0], x[:, 6:]):
        layer(x, padding, cache)
        pieces.append(layer(piece, past_key_values=cache)[0])
    torch.testing.assert_close(torch.cat(pieces, dim=1), expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_the_state_of_a_convolution_survives_an_empty_call() -> None:
    conv, state = ShortConvolution(6, 4), torch.randn(2, 6, 3)
    y, after = conv(torch.zeros(2, 0, 6), state)
    assert y.shape == (2, 0, 6)
    assert torch.equal(after, state)
    y, after = conv(torch.zeros(1, 0, 6), state, torch.tensor([0, 0, 0]))
    assert y.shape == (1, 0, 6)
    assert torch.equal(after, state)


@pytest.mark.parametrize("pattern", HYBRIDS)
@torch.no_grad()
def test_a_model_continues_after_an_empty_prompt(pattern: str) -> None:
    torch.manual_seed(0)
    model = HybridLanguageModel(HybridConfig(pattern, hidden_size=32, head_dim=16)).eval()
    tokens, cache = torch.randint(256, (2, 7)), DeltaNetCache()
    model(tokens[:, :0], cache=cache)
    model(tokens, torch.zeros(2, 7), cache)
    logits, _ = model(tokens, cache=cache)
    torch.testing.assert_close(logits, model(tokens)[0], rtol=0, atol=1e-5)
