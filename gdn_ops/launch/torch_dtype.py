"""The PyTorch dtype of an element type."""

from __future__ import annotations

import torch

from gdn_ops.codegen.dtype import DType


def torch_dtype(element: DType) -> torch.dtype:
    """Return the ``torch.dtype`` of an element type; codegen does not import PyTorch."""
    dtype = getattr(torch, element.torch.removeprefix("torch."))
    assert isinstance(dtype, torch.dtype)
    return dtype
