"""ShortConvolution: a causal depthwise convolution over the last few tokens, with SiLU."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gdn_ops.errors import InvalidInput
from gdn_ops.layers.checks import check_channels, check_counts
from gdn_ops.layers.packed_sequences import checked_offsets, sequence_of
from gdn_ops.ops.causal_convolution import causal_convolution
from gdn_ops.ops.checks import check_tensor


class ShortConvolution(nn.Conv1d):
    """Convolve each channel with its own W taps over tokens t-W+1..t; apply SiLU if ``silu``.

    ``weight`` is [D, 1, W], tap W-1 is for the newest token; ``bias`` is [D] or None.

    Args:
        hidden_size: channels, D.
        kernel_size: number of taps, W.
        bias: whether each channel has a bias.
        silu: whether SiLU is applied to the result.
    """

    def __init__(
        self, hidden_size: int, kernel_size: int, *, bias: bool = False, silu: bool = True
    ) -> None:
        check_counts(hidden_size=hidden_size, kernel_size=kernel_size)
        super().__init__(hidden_size, hidden_size, kernel_size, groups=hidden_size, bias=bias)
        self.silu = silu

    def forward(  # type: ignore[override]  # a convolution with a state takes and returns it
        self, x: Tensor, state: Tensor | None = None, cu_seqlens: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Convolve whole sequences, or continue from the state of an earlier call.

        Args:
            x: [B, T, D].
            state: [N, D, W-1], the inputs before the first token, oldest first; default:
                zeros.
            cu_seqlens: [N + 1] int32 or int64, offsets of packed sequences in one row (B = 1);
                without it, N is B.

        Returns:
            y [B, T, D] and the state after the last token, [N, D, W-1], a new tensor.

        Raises:
            InvalidInput: x, the state or ``cu_seqlens`` has another type or shape, or the offsets
                do not fit x.
        """
        taps = self.kernel_size[0]
        check_channels("x", x, self.in_channels, rank=3)
        if cu_seqlens is not None:
            cu_seqlens = checked_offsets(cu_seqlens, x, "x")
        if state is not None:
            self._check_state(state, x.shape[0] if cu_seqlens is None else cu_seqlens.numel() - 1)
        if cu_seqlens is not None:
            return self._packed(x, state, cu_seqlens.long())
        y = self._convolve(x, None if state is None else state.mT)
        if state is None:
            state = x.new_zeros(x.shape[0], x.shape[2], taps - 1)
        newest = torch.cat([state.mT, x[:, -taps:]], dim=1)
        return y, newest[:, newest.shape[1] - taps + 1 :].mT.contiguous()

    def _check_state(self, state: Tensor, sequences: int) -> None:
        wanted = [sequences, self.in_channels, self.kernel_size[0] - 1]
        check_tensor("state", state)
        if list(state.shape) != wanted:
            raise InvalidInput(
                f"state has shape {list(state.shape)}; it must be [N, D, W - 1] = {wanted}, "
                "as an earlier call of the same layer returned it."
            )

    def _packed(self, x: Tensor, state: Tensor | None, cu: Tensor) -> tuple[Tensor, Tensor]:
        """Put each sequence's state in front of it, then run one convolution over all of them."""
        history = self.kernel_size[0] - 1
        sequences, tokens = cu.numel() - 1, x.shape[1]
        # the first of the W extended positions that each token reads
        first = torch.arange(tokens, device=x.device) + sequence_of(cu, tokens) * history
        extended = x.new_zeros(tokens + sequences * history, x.shape[2])
        extended = extended.index_put((first + history,), x[0])
        steps = torch.arange(history, device=x.device)
        offsets = history * torch.arange(sequences, device=x.device)[:, None] + steps
        if state is not None:
            extended = extended.index_put((cu[:-1, None] + offsets,), state.mT)
        after = extended[cu[1:, None] + offsets]  # [N, W-1, D]
        return self._convolve(extended[None], None)[:, first + history], after.mT.contiguous()

    def _convolve(self, x: Tensor, before: Tensor | None) -> Tensor:
        return causal_convolution(x, self.weight[:, 0], self.bias, silu=self.silu, before=before)


def convolve_each(
    layers: Sequence[ShortConvolution],
    inputs: Sequence[Tensor],
    states: Sequence[Tensor] | None,
    cu_seqlens: Tensor | None,
) -> tuple[list[Tensor], tuple[Tensor, ...]]:
    """Run each convolution on its own input and state; return the outputs and the next states."""
    before = [None] * len(layers) if states is None else states
    runs = [
        layer(x, state, cu_seqlens) for layer, x, state in zip(layers, inputs, before, strict=True)
    ]
    return [y for y, _ in runs], tuple(state for _, state in runs)
