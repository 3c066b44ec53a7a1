"""Gated linear attention equals its formula, also when a sequence is split over calls."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from gdn_ops.errors import InvalidInput
from gdn_ops.layers import DeltaNetCache, GatedLinearAttention
from tests.close import assert_close


def layer_of(**options: object) -> GatedLinearAttention:
    torch.manual_seed(0)
    geometry = {"hidden_size": 32, "num_heads": 2, "gate_low_rank_dim": 4, "layer_idx": 0}
    return GatedLinearAttention(**geometry | options).eval()


def hidden_states() -> torch.Tensor:
    return torch.randn(2, 20, 32, generator=torch.Generator().manual_seed(1))


def formula(layer: GatedLinearAttention, x: torch.Tensor) -> torch.Tensor:
    """Token by token, x [B, T, D]."""
    q, k, v, g, gk = (
        project(x).unflatten(-1, (layer.num_heads, -1))
        for project in (layer.q_proj, layer.k_proj, layer.v_proj, layer.g_proj, layer.gk_proj)
    )
    decay = torch.sigmoid(gk) ** (1 / layer.gate_logit_normalizer)
    state = x.new_zeros(x.shape[0], layer.num_heads, layer.head_k_dim, layer.head_v_dim)
    outputs = []
    for t in range(x.shape[1]):
        state = decay[:, t, :, :, None] * state + k[:, t, :, :, None] * v[:, t, :, None]
        outputs.append(torch.einsum("bhkv,bhk->bhv", state, q[:, t]) / layer.head_k_dim**0.5)
    o = torch.stack(outputs, dim=1)
    o = F.rms_norm(o, o.shape[-1:], layer.g_norm_swish_gate.weight, 1e-5) * F.silu(g)
    return layer.o_proj(o.flatten(-2))


@pytest.mark.parametrize("options", [{}, {"expand_k": 1.0, "expand_v": 2.0, "num_heads": 4}])
@torch.no_grad()
def test_one_pass_and_pieces_equal_the_formula(options: dict[str, object]) -> None:
    layer, x = layer_of(**options), hidden_states()
    expected = formula(layer, x)
    assert_close("one pass", expected, layer(x)[0], 1e-5)
    cache, outputs = DeltaNetCache(), []
    for piece in x.split([1, 14, 3, 1, 1], dim=1):
        outputs.append(layer(piece, past_key_values=cache)[0])
    assert_close("pieces", expected, torch.cat(outputs, dim=1), 1e-5)


def test_state_dict_is_that_of_flash_linear_attention() -> None:
    """Names and shapes as in fla.layers.GatedLinearAttention 0.6."""
    assert {name: tuple(x.shape) for name, x in layer_of().state_dict().items()} == {
        "q_proj.weight": (16, 32), "k_proj.weight": (16, 32), "v_proj.weight": (32, 32),
        "g_proj.weight": (32, 32), "gk_proj.0.weight": (4, 32), "gk_proj.1.weight": (16, 4),
        "gk_proj.1.bias": (16,), "g_norm_swish_gate.weight": (16,), "o_proj.weight": (32, 32),
    }  # fmt: skip


def test_wrong_geometry_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"32 \* 0.3 / 2 = 4.8 is not an integer"):
        layer_of(expand_k=0.3)
