"""Packed sequences: the check of their offsets, and one row per sequence."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from gdn_ops.errors import InvalidInput
from gdn_ops.launch.packing import packing_of


def checked_offsets(cu_seqlens: Tensor, x: Tensor, name: str = "hidden_states") -> Tensor:
    """``cu_seqlens`` after checks against the packed row x [1, T, D], called ``name`` in errors.

    A compiled call checks the numbers when it runs, in an operator that returns a copy, and only if
    the copy is used.

    Raises:
        InvalidInput: x has several rows, or ``cu_seqlens`` is not an int32 or int64 tensor [N + 1]
            on x's device that starts at 0, never decreases, and ends at T or before.
    """
    if not isinstance(cu_seqlens, Tensor):
        raise InvalidInput(f"cu_seqlens is a {type(cu_seqlens).__name__}; give a torch.Tensor.")
    if x.shape[0] != 1:
        raise InvalidInput(
            f"cu_seqlens is given and {name} has B={x.shape[0]} rows; pack the sequences into one "
            "row, B=1."
        )
    if cu_seqlens.device != x.device:
        raise InvalidInput(
            f"cu_seqlens is on {cu_seqlens.device} and {name} on {x.device}; "
            "move both to one device."
        )
    if torch.compiler.is_compiling():
        checked: Tensor = torch.ops.gdn_ops.checked_offsets(cu_seqlens, x.shape[1])
        return checked
    cu_seqlens = rememberable(cu_seqlens)
    packing_of(cu_seqlens, x.shape[1])
    return cu_seqlens


@torch.library.custom_op("gdn_ops::checked_offsets", mutates_args=())
def _checked_copy(cu_seqlens: Tensor, tokens: int) -> Tensor:
    """Return a copy: an operator may not return its input, and one without outputs is removed."""
    packing_of(cu_seqlens, tokens)
    return cu_seqlens.clone()


@_checked_copy.register_fake
def _(cu_seqlens: Tensor, tokens: int) -> Tensor:
    return torch.empty_like(cu_seqlens)


def rememberable(cu_seqlens: Tensor) -> Tensor:
    """The same numbers in a tensor whose check is remembered.

    Tensors made in inference mode carry no version, so their numbers would be read back from the
    device by every check.
    """
    if not cu_seqlens.is_inference():
        return cu_seqlens
    with torch.inference_mode(mode=False):
        return cu_seqlens.clone()


@dataclass(frozen=True)
class SequenceRows:
    """Index maps between N packed sequences and N rows of L tokens, one row per sequence.

    Args:
        token: [N, L] long, the packed position of each token of the rows; the number of packed
            tokens, one past the last, where a row is longer than its sequence.
        lengths: [N] long, tokens of each sequence.
        row, column: [T] long, the position of each packed token in the rows.
        owned: [T] bool, false after the last sequence.
    """

    token: Tensor
    lengths: Tensor
    row: Tensor
    column: Tensor
    owned: Tensor

    @classmethod
    def of(cls, cu_seqlens: Tensor, tokens: int, longest: int) -> SequenceRows:
        """The rows of checked offsets into ``tokens`` packed tokens.

        Args:
            longest: an upper bound on the tokens of a sequence. It is the row length of compiled
                calls; rows of eager calls are as long as the longest sequence.
        """
        cu = cu_seqlens.long()
        lengths = cu.diff()
        if not torch.compiler.is_compiling():
            longest = max(1, int(lengths.max()))
        column = torch.arange(longest, device=cu.device)
        token = torch.where(column < lengths[:, None], cu[:-1, None] + column, tokens)
        packed = torch.arange(tokens, device=cu.device)
        row = sequence_of(cu, tokens)
        owned = packed < cu[-1]
        return cls(token, lengths, row, torch.where(owned, packed - cu[row], 0), owned)

    def spread(self, x: Tensor) -> Tensor:
        """[1, T, D] to [N, L, D], zeros after each sequence."""
        return F.pad(x[0], (0, 0, 0, 1))[self.token]

    def pack(self, y: Tensor) -> Tensor:
        """[N, L, D] to [1, T, D], zeros after the last sequence."""
        return torch.where(self.owned[:, None], y[self.row, self.column], y.new_zeros(()))[None]


def sequence_of(cu: Tensor, tokens: int) -> Tensor:
    """The sequence of each packed token, [tokens] long; the last one after its end."""
    token = torch.arange(tokens, device=cu.device)
    return torch.searchsorted(cu[1:], token, right=True).clamp(max=cu.numel() - 2)
