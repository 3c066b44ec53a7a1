"""``triton.experimental.gluon.language.nvidia.blackwell`` of the interpreter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from gdn_ops.gluon_interpreter import mbarrier, tma
from gdn_ops.gluon_interpreter.barrier import Barrier
from gdn_ops.gluon_interpreter.program import program
from gdn_ops.gluon_interpreter.shared_memory import Tile, fence
from gdn_ops.gluon_interpreter.tensor_memory import TensorTile, allocate
from gdn_ops.gluon_interpreter.tensor_products import commit, product

__all__ = [
    "TensorMemoryLayout",
    "allocate_tensor_memory",
    "fence_async_shared",
    "get_tmem_reg_layout",
    "mbarrier",
    "tcgen05_commit",
    "tcgen05_mma",
    "tma",
]


def TensorMemoryLayout(block: Sequence[int], col_stride: int) -> None:
    """Says nothing here, as other layouts."""


def get_tmem_reg_layout(*args: Any) -> None:
    return None


def allocate_tensor_memory(
    element_ty: torch.dtype, shape: Sequence[int], layout: Any, value: torch.Tensor | None = None
) -> TensorTile:
    return allocate(element_ty, shape, layout, value, depth=1)


def fence_async_shared(cluster: bool = False) -> None:
    fence()


def tcgen05_mma(
    a: Tile,
    b: Tile,
    acc: TensorTile,
    *,
    use_acc: bool = True,
    mbarriers: Sequence[Barrier] = (),
) -> None:
    product(a, b, acc, use_acc=bool(use_acc), barriers=mbarriers)
    program().switch()


def tcgen05_commit(barrier: Barrier) -> None:
    commit(barrier)
    program().switch()
