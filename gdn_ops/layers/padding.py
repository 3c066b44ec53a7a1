"""Padding masks: how a padded batch becomes packed sequences, and its output a padded batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from gdn_ops.errors import InvalidInput


@dataclass(frozen=True)
class Padding:
    """Which tokens of a batch are padding.

    Eager calls pack only the valid tokens. Their number is known only once the mask is read, which
    ``torch.compile`` cannot do while tracing. Compiled calls keep the padding: it is set to zero
    and moved to the end of the packed row, after the last sequence.

    Args:
        valid: [B, T] bool, false at padding.
        cu_seqlens: [B + 1] long, where each row's valid tokens begin in the packed row.
        place: [B * T] long, the position of each token in the packed row of a compiled call; None
            in an eager call.
    """

    valid: Tensor
    cu_seqlens: Tensor
    place: Tensor | None

    @classmethod
    def of(cls, x: Tensor, attention_mask: Tensor | None) -> Padding | None:
        """The padding of x [B, T, D]; None if there is none.

        Raises:
            InvalidInput: the mask is not a tensor [B, at least T] on x's device.
        """
        if attention_mask is None:
            return None
        _check(x, attention_mask)
        B, T = x.shape[:2]
        if B * T == 0:
            return None
        valid = attention_mask[:, attention_mask.shape[1] - T :].bool()
        compiled = torch.compiler.is_compiling()
        if not compiled and bool(valid.all()):
            return None
        cu_seqlens = F.pad(valid.sum(1).cumsum(0), (1, 0))
        return cls(valid, cu_seqlens, _places(valid.flatten()) if compiled else None)

    def remove(self, x: Tensor) -> Tensor:
        """x [B, T, D] as packed sequences: [1, valid tokens, D]; [1, B * T, D] if compiled."""
        if self.place is None:
            return x[self.valid][None]
        # where, not a product: padding may be NaN
        cleared = torch.where(self.valid[..., None], x, x.new_zeros(())).flatten(0, 1)
        return torch.zeros_like(cleared).index_put((self.place,), cleared)[None]

    def restore(self, y: Tensor) -> Tensor:
        """The inverse of ``remove``: [1, tokens, D] to [B, T, D], zeros at padding."""
        if self.place is None:
            return y.new_zeros(*self.valid.shape, y.shape[-1]).index_put((self.valid,), y[0])
        spread = y[0][self.place].view(*self.valid.shape, y.shape[-1])
        return torch.where(self.valid[..., None], spread, y.new_zeros(()))


def _places(valid: Tensor) -> Tensor:
    """Packed positions: valid tokens first, then padding, both in order; valid is [B * T]."""
    before = valid.cumsum(0)
    return torch.where(valid, before - 1, before[-1] + (~valid).cumsum(0) - 1)


def _check(x: Tensor, attention_mask: Tensor) -> None:
    if not isinstance(attention_mask, Tensor):
        kind = type(attention_mask).__name__
        raise InvalidInput(
            f"attention_mask is a {kind}; give a torch.Tensor [B, T] that is 0 at padding."
        )
    B, T = x.shape[:2]
    shape = list(attention_mask.shape)
    if len(shape) != 2 or shape[0] != B or shape[1] < T:
        raise InvalidInput(
            f"attention_mask has shape {shape}; it must be [B={B}, at least T={T}], 0 at padding "
            "and 1 elsewhere."
        )
    if attention_mask.device != x.device:
        raise InvalidInput(
            f"attention_mask is on {attention_mask.device} and hidden_states on {x.device}; "
            "move both to one device."
        )
