"""DeltaNetCache: the states of a stack of layers between calls.

Their size does not grow, but for that of an attention layer without a window.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class LayerState:
    """The state of one recurrent layer for N sequences.

    Args:
        recurrent: [N, HV, K, V] float32, the state of the recurrence.
        conv: the last W - 1 inputs of each short convolution, each [N, D, W - 1]: three for q, k
            and v, one for Mamba2; None for a layer without short convolutions.
    """

    recurrent: Tensor
    conv: tuple[Tensor, ...] | None

    @property
    def sequences(self) -> int:
        """The number of sequences, N."""
        return self.recurrent.shape[0]


@dataclass(frozen=True)
class WindowState:
    """The state of one sliding-window attention layer for N sequences.

    Args:
        keys, values: [N, S, heads, head dim], the newest token last, S <= window size - 1 if there
            is a window; the keys are rotated. If a sequence has fewer than S tokens, the first
            entries are padding that no query attends to.
        seen: [N] long, the number of tokens of each sequence so far.
    """

    keys: Tensor
    values: Tensor
    seen: Tensor

    @property
    def sequences(self) -> int:
        """The number of sequences, N."""
        return self.seen.shape[0]


@dataclass
class DeltaNetCache:
    """The states of a stack of layers, keyed by ``layer_idx``."""

    layers: dict[int, LayerState | WindowState] = field(default_factory=dict)
