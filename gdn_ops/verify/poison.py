"""Poison: unwritten memory is NaN, and guards show writes out of bounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from gdn_ops.launch.call import TOKEN_INPUTS, Call
from gdn_ops.launch.launcher import GIVEN
from gdn_ops.launch.pool_call import PoolCall

GUARD = 4096
"""Elements of NaN behind every allocation; they must not change."""
INPUT_ROWS = 128
"""Tokens of NaN before and behind each input: as many as the largest chunk."""
TOKEN_TENSORS = (*TOKEN_INPUTS, "do")
"""Tensors of a call with a value for each token: inputs and the gradient of the outputs."""


@dataclass
class Guards:
    """The guards behind all tensors that were allocated while memory was poisoned."""

    ends: list[tuple[tuple[int, ...], Tensor]] = field(default_factory=list)

    def overwritten(self) -> str:
        """Say behind which tensor something was written; empty if nothing was."""
        for shape, end in self.ends:
            if not bool(end.isnan().all()):
                return f"it writes past the end of a tensor {list(shape)}"
        return ""


@contextmanager
def poisoned_memory() -> Iterator[Guards]:
    """Fill what ``torch.empty`` and its variants return with NaN, and add a guard behind it.

    The code inside runs unchanged otherwise. ``torch.use_deterministic_algorithms`` fills memory
    too, but it also selects other kernels.
    """
    guards = Guards()
    empty = torch.empty
    places = [
        (torch, "empty"), (torch, "empty_like"), (torch, "empty_strided"),
        (torch.Tensor, "new_empty"), (torch.Tensor, "new_empty_strided"),
    ]  # fmt: skip
    with ExitStack() as stack:
        for owner, name in places:
            poisoned = _poisoned(getattr(owner, name), empty, guards)
            stack.enter_context(patch.object(owner, name, poisoned))
        yield guards


def _poisoned(
    allocate: Callable[..., Tensor], empty: Callable[..., Tensor], guards: Guards
) -> Callable[..., Tensor]:
    def poisoned(*args: Any, **options: Any) -> Tensor:
        tensor = allocate(*args, **options)
        if not tensor.is_floating_point():
            return tensor  # integers have no NaN, and a wrong index would crash
        if "out" in options or not tensor.is_contiguous():
            return tensor.fill_(float("nan"))
        size = tensor.numel()
        room = empty(size + GUARD, dtype=tensor.dtype, device=tensor.device).fill_(float("nan"))
        guards.ends.append((tuple(tensor.shape), room[size:]))
        return room[:size].view(tensor.shape).requires_grad_(tensor.requires_grad)

    return poisoned


def surrounded_by_nan(call: Call) -> Call:
    """The same call with NaN around every input, and NaN for tokens that belong to no sequence."""
    inside = replace(call)
    if isinstance(inside, PoolCall):
        inside.pool = inside.pool.clone()  # the call writes to it
    for name in GIVEN:
        x = getattr(call, name)
        if x is None:
            continue
        x = _embed(
            x, INPUT_ROWS * prod(x.shape[2:]) if name in TOKEN_TENSORS else prod(x.shape[1:])
        )
        if name in TOKEN_TENSORS and call.packing is not None:
            x[:, call.packing.offsets[-1] :] = float("nan")
        setattr(inside, name, x)
    return inside


def _embed(x: Tensor, margin: int) -> Tensor:
    margin = -(-margin // 64) * 64  # keep the alignment that kernels need
    room = x.new_full((x.numel() + 2 * margin,), float("nan"))
    return room[margin : margin + x.numel()].view(x.shape).copy_(x)
