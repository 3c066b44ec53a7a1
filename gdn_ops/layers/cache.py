"""DeltaNetCache: what a stack of layers keeps between calls; its size does not grow with tokens."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class LayerState:
    """What one layer keeps of N sequences.

    Args:
        recurrent: [N, HV, K, V] float32, the state of the delta rule.
        conv: the last W - 1 inputs of the q, k and v convolutions, each [N, D, W - 1]; None for a
            layer without short convolutions.
    """

    recurrent: Tensor
    conv: tuple[Tensor, Tensor, Tensor] | None


@dataclass
class DeltaNetCache:
    """The states of a stack of layers, by ``layer_idx``."""

    layers: dict[int, LayerState] = field(default_factory=dict)
