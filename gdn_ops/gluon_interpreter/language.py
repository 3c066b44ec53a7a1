"""``triton.experimental.gluon.language`` of the interpreter, as far as kernels use it.

Blocks of values are PyTorch tensors; layouts say nothing here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from gdn_ops.gluon_interpreter.barrier import Barriers
from gdn_ops.gluon_interpreter.memory import load, store
from gdn_ops.gluon_interpreter.program import program
from gdn_ops.gluon_interpreter.shared_memory import Tile, allocate

bfloat16, float16, float32 = torch.bfloat16, torch.float16, torch.float32
int32, int64 = torch.int32, torch.int64
static_range = range
exp, exp2, log, abs = torch.exp, torch.exp2, torch.log, torch.abs

__all__ = ["load", "store"]


def constexpr(value: Any) -> Any:
    return value


def _layout(*args: Any, **options: Any) -> None:
    return None


NVMMADistributedLayout = BlockedLayout = SliceLayout = DotOperandLayout = _layout
SwizzledSharedLayout = _layout


def program_id(axis: int) -> torch.Tensor:
    return torch.tensor(program().index[axis], dtype=torch.int32)


def arange(start: int, end: int, layout: Any = None) -> torch.Tensor:
    return torch.arange(start, end, dtype=torch.int32)


def zeros(shape: Sequence[int], dtype: torch.dtype, layout: Any = None) -> torch.Tensor:
    return torch.zeros(list(shape), dtype=dtype)


def convert_layout(value: torch.Tensor, layout: Any, assert_trivial: bool = False) -> torch.Tensor:
    return value.clone()  # also refuses a product in flight


def where(condition: Any, x: Any, y: Any) -> torch.Tensor:
    return torch.where(condition, x, y)


def sum(x: torch.Tensor, axis: int) -> torch.Tensor:
    return x.sum(axis)


def cdiv(x: Any, div: Any) -> Any:
    return (x + div - 1) // div


def minimum(x: Any, y: Any) -> Any:
    return _either(torch.minimum, min, x, y)


def maximum(x: Any, y: Any) -> Any:
    return _either(torch.maximum, max, x, y)


def allocate_shared_memory(dtype: torch.dtype, shape: Sequence[int], layout: Any) -> Any:
    """Memory for a tile; one of int64 is for barriers."""
    if dtype == int64:
        return Barriers(shape[0], depth=1)
    tile: Tile = allocate(dtype, shape, layout, depth=1)
    return tile


def warp_specialize(
    functions_and_args: Sequence[tuple[Callable[..., Any], tuple[Any, ...]]],
    worker_num_warps: Sequence[int],
    worker_num_regs: Sequence[int] | None = None,
) -> Any:
    return program().specialize(functions_and_args)


def _either(of_tensors: Any, of_numbers: Any, x: Any, y: Any) -> Any:
    if not isinstance(x, torch.Tensor) and not isinstance(y, torch.Tensor):
        return of_numbers(x, y)
    return of_tensors(*(torch.as_tensor(v) for v in (x, y)))
