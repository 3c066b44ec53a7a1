"""Tensors whose values cannot be read during a call: traced, fake, or inside a transform."""

from __future__ import annotations

import torch
from torch._C import _are_functorch_transforms_active as transforming
from torch._C._functorch import is_functorch_wrapped_tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.autograd import forward_ad

from gdn_ops.errors import UnsupportedProblem

__all__ = [
    "has_tangent",
    "is_fake",
    "refuse_tangents",
    "refuse_transforms",
    "refuse_unreadable",
    "transforming",
    "unreadable",
]

NO_TANGENTS = (
    "forward-mode gradients (torch.func.jvp, jacfwd, dual tensors) are requested, which no plan "
    "computes; use reverse mode (torch.func.vjp, jacrev), or give float64, which runs on "
    "gdn_ops.reference."
)


def is_fake(x: torch.Tensor) -> bool:
    """Return whether a tensor is fake: it has a shape, but no values."""
    return isinstance(x, FakeTensor)


def unreadable(x: torch.Tensor) -> bool:
    """Return whether the values of a tensor cannot be read on the host now."""
    return torch.compiler.is_compiling() or is_fake(x) or is_functorch_wrapped_tensor(x)


def refuse_unreadable(cu_seqlens: torch.Tensor) -> None:
    """Refuse ``cu_seqlens`` whose values plain PyTorch needs but cannot read.

    Raises:
        UnsupportedProblem: the tensor is traced, fake, or inside a transform.
    """
    if unreadable(cu_seqlens):
        raise UnsupportedProblem(
            "cu_seqlens cannot be read inside torch.compile, inside vmap or from fake tensors, "
            "but calls in float64, with gv or with a beta per channel need its values; make the "
            "call outside, or give sequences of one length without cu_seqlens."
        )


def refuse_transforms() -> None:
    """Refuse transforms of torch.func inside torch.compile, which ignores our rules for them.

    Raises:
        UnsupportedProblem: a transform is active.
    """
    if transforming():
        raise UnsupportedProblem(
            "a transform of torch.func (grad, vmap, ...) is used inside torch.compile, which is "
            "not supported; leave torch.compile out, or compute gradients with backward() or "
            "torch.autograd.grad."
        )


def refuse_tangents(q: torch.Tensor, *more: torch.Tensor | None) -> None:
    """Refuse dual tensors, because a kernel would drop their tangents.

    Call it only inside a dual level. If q is float64 the call passes, as plain PyTorch computes it.

    Raises:
        UnsupportedProblem: a tensor is dual.
    """
    if getattr(q, "dtype", None) == torch.float64:
        return
    for x in (q, *more):
        if isinstance(x, torch.Tensor) and has_tangent(x):
            raise UnsupportedProblem(NO_TANGENTS)


def has_tangent(x: torch.Tensor) -> bool:
    """Return whether a tensor is dual, inside a dual level."""
    if forward_ad._current_level < 0:
        return False
    return forward_ad.unpack_dual(x).tangent is not None  # type: ignore[no-untyped-call]
