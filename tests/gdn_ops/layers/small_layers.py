"""Small token mixers of every kind, for tests of what all of them do alike."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gdn_ops.layers import (
    DeltaNet,
    GatedDeltaNet,
    GatedLinearAttention,
    Mamba2,
    SlidingWindowAttention,
)
from gdn_ops.layers.token_mixer import TokenMixer

WIDTH = 32
LAYERS: dict[str, tuple[type[TokenMixer[Any]], dict[str, Any]]] = {
    "GatedDeltaNet": (GatedDeltaNet, {"head_dim": 8, "num_heads": 2}),
    "GatedDeltaNet without convolutions": (
        GatedDeltaNet,
        {"head_dim": 8, "num_heads": 2, "use_short_conv": False},
    ),
    "DeltaNet": (DeltaNet, {"num_heads": 2}),
    "DeltaNet with sum norm": (
        DeltaNet,
        {"num_heads": 2, "qk_activation": "relu", "qk_norm": "sum", "conv_bias": True},
    ),
    "Mamba2": (Mamba2, {"num_heads": 4, "head_dim": 16, "state_size": 8}),
    "GatedLinearAttention": (GatedLinearAttention, {"num_heads": 2}),
    "SlidingWindowAttention": (SlidingWindowAttention, {"num_heads": 4, "window_size": 5}),
}


def small_layer(name: str, **options: object) -> TokenMixer[Any]:
    torch.manual_seed(0)
    kind, geometry = LAYERS[name]
    layer = kind(**{"hidden_size": WIDTH, "layer_idx": 0} | geometry | options)
    for parameter_name, parameter in layer.named_parameters():
        if parameter_name.endswith("conv1d.bias"):
            parameter.data += 1  # keeps sums of relu away from zero
    return layer


def hidden_states(B: int = 2, T: int = 9) -> Tensor:
    return torch.randn(B, T, WIDTH, generator=torch.Generator().manual_seed(1))
