"""DeltaNetCache: what a stack of layers keeps between calls; its size does not grow with tokens."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class LayerState:
    """What one recurrent layer keeps of N sequences.

    Args:
        recurrent: [N, HV, K, V] float32, the state of the rule.
        conv: the last W - 1 inputs of each short convolution, each [N, D, W - 1]: of q, k and v,
            or of Mamba2's one; None for a layer without short convolutions.
    """

    recurrent: Tensor
    conv: tuple[Tensor, ...] | None

    @property
    def sequences(self) -> int:
        """N."""
        return self.recurrent.shape[0]


@dataclass(frozen=True)
class WindowState:
    """What one sliding-window attention layer keeps of N sequences.

    Args:
        keys, values: [N, S, heads, head dim], the newest token last, S at most the window less
            one; the keys are rotated. A sequence of fewer than S tokens begins with numbers that
            no query sees.
        seen: [N] long, the tokens of each sequence so far.
    """

    keys: Tensor
    values: Tensor
    seen: Tensor

    @property
    def sequences(self) -> int:
        """N."""
        return self.seen.shape[0]


@dataclass
class DeltaNetCache:
    """The states of a stack of layers, by ``layer_idx``."""

    layers: dict[int, LayerState | WindowState] = field(default_factory=dict)
