"""Layers with padding masks and packed sequences under torch.compile and torch.export."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from gdn_ops.errors import InvalidInput
from gdn_ops.layers import DeltaNetCache, LayerState, WindowState
from gdn_ops.models import HybridConfig, HybridLanguageModel
from tests.gdn_ops.layers.small_layers import LAYERS, hidden_states, small_layer

KINDS = [
    name
    if name == kind.__name__ != "GatedLinearAttention"  # as Mamba2, with one gate more
    else pytest.param(name, marks=pytest.mark.exhaustive)
    for name, (kind, _) in LAYERS.items()
]
"""Each kind of layer; its options in the exhaustive run."""
MASKS = {
    "left": [[1] * 9, [0] * 4 + [1] * 5],
    "right": [[1] * 6 + [0] * 3, [1] * 9],
    "holes": [[0, 1, 1, 0, 1, 1, 1, 0, 1], [0] * 9],
    "none": [[1] * 9, [1] * 9],
}


@pytest.fixture(autouse=True)
def no_graphs_of_other_tests() -> None:
    torch.compiler.reset()


def whole_graph(function: Any) -> Any:
    """Compile without graph breaks; what code a backend generates is not tested here."""
    return torch.compile(function, fullgraph=True, backend="aot_eager")


def visible(state: LayerState | WindowState) -> list[Tensor]:
    """The tensors of a state, without the keys and values that no query sees."""
    if isinstance(state, LayerState):
        return [state.recurrent, *(state.conv or ())]
    S = state.keys.shape[1]
    seen = torch.arange(S) >= S - state.seen[:, None]
    return [*(y * seen[..., None, None] for y in (state.keys, state.values)), state.seen]


@pytest.mark.parametrize("name", KINDS)
def test_a_compiled_layer_with_a_mask_equals_the_eager_one(name: str) -> None:
    layer = small_layer(name)
    compiled = whole_graph(layer)

    def results(call: Any, x: Tensor, mask: Tensor) -> dict[str, Tensor]:
        leaf = x.clone().requires_grad_()
        o, _, cache = call(leaf, mask, use_cache=True)
        layer.zero_grad()
        o.square().sum().backward()
        states = {f"state {i}": y for i, y in enumerate(visible(cache.layers[0]))}
        gradients = {n: p.grad.clone() for n, p in layer.named_parameters()}
        return {"o": o, "dx": leaf.grad, **states, **gradients}

    for case, rows in MASKS.items():
        mask = torch.tensor(rows)
        x = hidden_states().masked_fill(mask[..., None] == 0, math.nan)
        ours = results(compiled, x, mask)
        for key, expected in results(layer, x, mask).items():
            close = torch.allclose(ours[key], expected, rtol=1e-4, atol=1e-5)
            assert close, f"{key}, mask {case}"


@pytest.mark.parametrize("name", KINDS)
@torch.no_grad()
def test_compiled_decoding_after_padding_equals_one_pass(name: str) -> None:
    layer, x = small_layer(name), hidden_states()
    mask = torch.tensor(MASKS["left"])
    expected, _, _ = layer(x, mask)
    compiled, cache, pieces = whole_graph(layer), DeltaNetCache(), []
    for first, last in ((0, 7), (7, 8), (8, 9)):
        o, _, _ = compiled(x[:, first:last], mask[:, :last], cache)
        pieces.append(o)
    torch.testing.assert_close(torch.cat(pieces, dim=1), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", KINDS)
def test_a_compiled_layer_with_packed_sequences_equals_the_eager_one(name: str) -> None:
    x, cu_seqlens = hidden_states(B=1, T=12), torch.tensor([0, 2, 2, 7, 10])
    layer = small_layer(name)
    eager, compiled = x.clone().requires_grad_(), x.clone().requires_grad_()
    expected, _, _ = layer(eager, cu_seqlens=cu_seqlens)
    o, _, _ = whole_graph(layer)(compiled, cu_seqlens=cu_seqlens)
    torch.testing.assert_close(o, expected, rtol=0, atol=1e-5)
    for y in (o, expected):
        y[:, :10].square().sum().backward()
    torch.testing.assert_close(compiled.grad, eager.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", KINDS)
@torch.no_grad()
def test_a_compiled_layer_refuses_wrong_offsets_when_it_runs(name: str) -> None:
    layer, x = whole_graph(small_layer(name)), hidden_states(B=1)
    for offsets, message in (([0, 4, 11], "ends at 11"), ([1, 4, 9], "starts at 1")):
        with pytest.raises(InvalidInput, match=message):
            layer(x, cu_seqlens=torch.tensor(offsets))


@pytest.mark.parametrize("name", KINDS)
@torch.no_grad()
def test_an_exported_layer_takes_any_mask(name: str) -> None:
    layer, x = small_layer(name).eval(), hidden_states()
    exported = torch.export.export(layer, (x, torch.tensor(MASKS["left"])))
    for mask in map(torch.tensor, MASKS.values()):
        o = exported.module()(x, mask)[0]
        torch.testing.assert_close(o, layer(x, mask)[0], rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_compiled_model_with_a_mask_equals_the_eager_one() -> None:
    torch.manual_seed(0)
    config = HybridConfig("H2", num_layers=3, hidden_size=32, head_dim=16, window_size=5)
    model, tokens = HybridLanguageModel(config).eval(), torch.randint(256, (2, 9))
    mask = torch.tensor(MASKS["left"])
    expected, _ = model(tokens, mask)
    logits, _ = whole_graph(model)(tokens, mask)
    valid = mask.bool()
    torch.testing.assert_close(logits[valid], expected[valid], rtol=0, atol=1e-4)
