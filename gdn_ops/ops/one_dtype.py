"""Casting q, k and v to one dtype: the recurrent functions accept different ones."""

from __future__ import annotations

import torch
from torch import Tensor

from gdn_ops.ops.checks import FLOATS


def in_one_dtype(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
    """Return q, k, v in the widest of their dtypes.

    Returns:
        The three tensors, or None if no cast is needed or an argument is invalid (the checks that
        follow report it).
    """
    try:
        if q.dtype is k.dtype is v.dtype:
            return None
        if any(x.dtype not in FLOATS for x in (q, k, v)):
            return None
    except AttributeError:
        return None
    widest = torch.promote_types(torch.promote_types(q.dtype, k.dtype), v.dtype)
    return q.to(widest), k.to(widest), v.to(widest)
