"""TokenMixer: what all layers share: padding, packed sequences and the cache."""

from __future__ import annotations

from abc import abstractmethod
from typing import Generic, TypeVar, cast

import torch
from torch import Tensor, nn

from gdn_ops.errors import InvalidInput, UnknownName
from gdn_ops.layers.cache import DeltaNetCache, LayerState, WindowState
from gdn_ops.layers.checks import check_channels, check_counts
from gdn_ops.layers.packed_sequences import checked_offsets
from gdn_ops.layers.padding import Padding
from gdn_ops.layers.short_convolution import ShortConvolution

MODES = ("chunk", "fused_recurrent")
State = TypeVar("State", LayerState, WindowState)


class TokenMixer(nn.Module, Generic[State]):
    """Base of the layers that mix the tokens of each sequence and can continue from a cache.

    Args:
        hidden_size: size of the input and output.
        layer_idx: the key of this layer's state in a cache.
        mode: ``chunk`` or ``fused_recurrent``, the op that is called for several tokens when no
            gradient is recorded. The dispatcher chooses the kernel in either case.

    Raises:
        InvalidInput: ``hidden_size`` is not an integer >= 1.
        UnknownName: the mode is unknown.
    """

    state_type: type[LayerState | WindowState] = LayerState

    def __init__(self, hidden_size: int, layer_idx: int | None, mode: str = "chunk") -> None:
        super().__init__()
        if mode not in MODES:
            raise UnknownName.of("mode", mode, MODES)
        check_counts(hidden_size=hidden_size)
        self.hidden_size, self.layer_idx, self.mode = hidden_size, layer_idx, mode

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        past_key_values: DeltaNetCache | None = None,
        use_cache: bool = False,
        output_attentions: bool = False,
        *,
        cu_seqlens: Tensor | None = None,
    ) -> tuple[Tensor, None, DeltaNetCache | None]:
        """Mix a batch, a padded batch or packed sequences; continue from a cache if one is given.

        Args:
            hidden_states: [B, T, hidden_size].
            attention_mask: [B, at least T], 0 at padding and 1 elsewhere; the last T columns are
                used. Padding does not change a state, and its output is 0.
            past_key_values: the cache of earlier calls. Read, and updated with the new states.
            use_cache: return a cache; a new one if none is given.
            output_attentions: ignored; flash-linear-attention's layers have it.
            cu_seqlens: [N + 1] int32 or int64, offsets of packed sequences in one row (B = 1).

        Returns:
            The output [B, T, hidden_size], None, and the cache or None.

        Raises:
            InvalidInput: an argument has the wrong type or shape, mask and ``cu_seqlens`` are both
                given, the layer has no ``layer_idx`` for the cache, or the cache holds another
                number of sequences or the state of another kind of layer.
        """
        check_channels("hidden_states", hidden_states, self.hidden_size, rank=3)
        if past_key_values is not None and not isinstance(past_key_values, DeltaNetCache):
            raise InvalidInput(
                f"past_key_values is a {type(past_key_values).__name__}; give a "
                "gdn_ops.layers.DeltaNetCache, or none and use_cache=True for a new one."
            )
        if attention_mask is not None and cu_seqlens is not None:
            raise InvalidInput(
                "attention_mask and cu_seqlens are both given; give the mask for a padded batch, "
                "or cu_seqlens for packed sequences."
            )
        x = hidden_states
        padding = Padding.of(x, attention_mask)
        if padding is not None:
            x, cu_seqlens = padding.remove(x), padding.cu_seqlens
        if cu_seqlens is not None:
            checked = checked_offsets(cu_seqlens, x)
            # In a compiled call that is a copy, whose numbers the rule would read back again.
            cu_seqlens = cu_seqlens if torch.compiler.is_compiling() else checked
        cache = DeltaNetCache() if use_cache and past_key_values is None else past_key_values
        sequences = x.shape[0] if cu_seqlens is None else cu_seqlens.numel() - 1
        state = None if cache is None else self._state(cache, sequences)
        one_by_one = hidden_states.shape[1] == 1 or self.mode == "fused_recurrent"
        recurrent = one_by_one and not torch.is_grad_enabled()
        o, state = self._mix(
            x, state, cu_seqlens,
            longest=hidden_states.shape[1], recurrent=recurrent, keep=cache is not None,
        )  # fmt: skip
        if cache is not None and self.layer_idx is not None and state is not None:
            cache.layers[self.layer_idx] = state
        return o if padding is None else padding.restore(o), None, cache

    def _state(self, cache: DeltaNetCache, sequences: int) -> State | None:
        """This layer's state in a cache; None before its first call."""
        if self.layer_idx is None:
            raise InvalidInput(
                "a cache is used with a layer that has layer_idx=None; "
                "give each layer of the stack its own layer_idx."
            )
        state = cache.layers.get(self.layer_idx)
        if state is not None:
            self._check_kind(state)
        if state is not None and state.sequences != sequences:
            raise InvalidInput(
                f"the cache holds {state.sequences} sequences and the call has "
                f"{sequences}; pass the same sequences in the same order, or start a new cache."
            )
        return cast("State | None", state)

    def _check_kind(self, state: object) -> None:
        """Refuse the state of another kind of layer."""
        ours = f"{self.state_type.__name__} of {self._convolutions()} convolutions"
        theirs = type(state).__name__
        if isinstance(state, LayerState):
            theirs += f" of {len(state.conv or ())} convolutions"
        elif isinstance(state, WindowState):
            theirs += " of 0 convolutions"
        if theirs != ours:
            raise InvalidInput(
                f"the cache holds a {theirs} for layer_idx={self.layer_idx}, and this "
                f"{type(self).__name__} keeps a {ours}; give each layer of the stack its own "
                "layer_idx."
            )

    def _convolutions(self) -> int:
        return sum(isinstance(module, ShortConvolution) for module in self.children())

    @abstractmethod
    def _mix(
        self,
        x: Tensor,
        state: State | None,
        cu_seqlens: Tensor | None,
        *,
        longest: int,
        recurrent: bool,
        keep: bool,
    ) -> tuple[Tensor, State | None]:
        """Mix x [B, T, hidden_size]; return the output, and the next state if ``keep``.

        Args:
            longest: an upper bound on the tokens of a sequence.
            recurrent: call the op meant for decoding, in layers that have two.
            keep: whether the next state is returned.
        """
