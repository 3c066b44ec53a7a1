"""Gluon on the stand-in GPU: a kernel's source, run in the interpreter of Gluon."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import torch

from gdn_ops.codegen.module_cache import load_module
from gdn_ops.gluon_interpreter.copies import TensorDescriptor
from gdn_ops.results_path import cache_folder
from tests.stand_in.tensor import plain

PLACES = {
    "triton.experimental.gluon.language.nvidia.hopper": "gdn_ops.gluon_interpreter.hopper",
    "from triton.experimental": "from gdn_ops.gluon_interpreter",
    "from gdn_ops.gluon_interpreter.gluon import language": (
        "from gdn_ops.gluon_interpreter import language"
    ),
}
"""Where a kernel finds Gluon, and where it finds the interpreter's."""
UNKNOWN = 1 << 32
"""Bytes of memory whose size nobody knows, behind an address."""


def interpreted(function: Any) -> Any:
    """The kernel of a function compiled by Triton, for the interpreter of Gluon."""
    source = Path(function.__code__.co_filename).read_text()
    for theirs, ours in PLACES.items():
        source = source.replace(theirs, ours)
    return getattr(load_module(function.__name__, source, cache_folder()), function.__name__)


def memory(address: int, dtype: torch.dtype, count: int | None = None) -> torch.Tensor:
    """The elements at an address; so many, or as many as the kernel asks for."""
    size = UNKNOWN if count is None else count * dtype.itemsize
    return torch.frombuffer((ctypes.c_char * size).from_address(address), dtype=dtype)


def on_cpu(x: Any) -> Any:
    """An argument of a kernel for the interpreter."""
    if not hasattr(x, "block_shape"):
        return plain(x)
    rows, columns = x.shape
    base = memory(x.base.data_ptr(), x.base.dtype, rows * columns)
    return TensorDescriptor(base, (rows, columns), tuple(x.block_shape))
