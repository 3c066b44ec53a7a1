"""Padding masks, turned into packed sequences."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from gdn_ops.errors import InvalidInput


def unpad(
    x: Tensor, attention_mask: Tensor | None, cu_seqlens: Tensor | None
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Pack the tokens a mask leaves.

    Args:
        x: [B, T, D].
        attention_mask: [B, at least T], 0 at padding; its last T columns count.
        cu_seqlens: [N + 1], packed sequences in one row; not with a mask.

    Returns:
        x as it is or [1, tokens, D], ``cu_seqlens``, and the mask [B, T] bool to unpack with, None
        where nothing was packed.

    Raises:
        InvalidInput: the mask has another shape, or comes with ``cu_seqlens``.
    """
    if attention_mask is None:
        return x, cu_seqlens, None
    B, T, _ = x.shape
    shape = tuple(attention_mask.shape)
    if cu_seqlens is not None or len(shape) != 2 or shape[0] != B or shape[1] < T:
        raise InvalidInput(
            f"attention_mask {shape} must be [B={B}, at least T={T}] and come without cu_seqlens; "
            "give a 0/1 padding mask or cu_seqlens."
        )
    valid = attention_mask[:, shape[1] - T :].bool()
    if bool(valid.all()):
        return x, None, None
    return x[valid][None], F.pad(valid.sum(1).cumsum(0), (1, 0)), valid
