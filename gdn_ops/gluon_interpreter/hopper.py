"""``triton.experimental.gluon.language.nvidia.hopper`` of the interpreter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from gdn_ops.gluon_interpreter import mbarrier, tma
from gdn_ops.gluon_interpreter.products import Accumulator, product, wait
from gdn_ops.gluon_interpreter.program import program
from gdn_ops.gluon_interpreter.shared_memory import Tile, fence

__all__ = ["fence_async_shared", "mbarrier", "tma", "warpgroup_mma", "warpgroup_mma_wait"]


def fence_async_shared(cluster: bool = False) -> None:
    fence()


def warpgroup_mma(
    a: Tile | torch.Tensor,
    b: Tile,
    acc: Accumulator | torch.Tensor,
    *,
    use_acc: bool = True,
    precision: str | None = None,
    max_num_imprecise_acc: int | None = None,
    is_async: bool = False,
) -> Any:
    out = product(a, b, acc, use_acc=bool(use_acc))
    if not is_async:
        return wait(0, [out])
    program().switch()
    return out


def warpgroup_mma_wait(num_outstanding: int = 0, deps: Sequence[Any] = ()) -> Any:
    return wait(num_outstanding, deps)
