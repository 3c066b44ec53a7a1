"""Tensors whose values cannot be read while a call runs: traced, fake, or under a transform."""

from __future__ import annotations

import torch
from torch._C import _are_functorch_transforms_active as transforming
from torch._C._functorch import is_functorch_wrapped_tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.autograd import forward_ad

from gdn_ops.errors import UnsupportedProblem

__all__ = [
    "is_fake",
    "refuse_tangents",
    "refuse_transforms",
    "refuse_unreadable",
    "transforming",
    "unreadable",
]

NO_TANGENTS = (
    "forward-mode gradients (torch.func.jvp, jacfwd, dual tensors) are asked for, which no plan "
    "has; take reverse-mode ones (torch.func.vjp, jacrev), or give float64, which "
    "gdn_ops.reference computes."
)


def is_fake(x: torch.Tensor) -> bool:
    """Whether a tensor has no values at all."""
    return isinstance(x, FakeTensor)


def unreadable(x: torch.Tensor) -> bool:
    """Whether the numbers of a tensor cannot be had on the host here."""
    return torch.compiler.is_compiling() or is_fake(x) or is_functorch_wrapped_tensor(x)


def refuse_unreadable(cu_seqlens: torch.Tensor) -> None:
    """Refuse offsets that plain PyTorch has to read and cannot.

    Raises:
        UnsupportedProblem: they are traced, fake, or under a transform.
    """
    if unreadable(cu_seqlens):
        raise UnsupportedProblem(
            "cu_seqlens cannot be read inside torch.compile, of fake tensors or under vmap, and "
            "float64, gv and a beta per channel need it to be; make the call outside, or give "
            "sequences of one length without cu_seqlens."
        )


def refuse_transforms() -> None:
    """Refuse torch.func's transforms inside torch.compile, which does not trace them to our rules.

    Raises:
        UnsupportedProblem: one of them is in force.
    """
    if transforming():
        raise UnsupportedProblem(
            "a transform of torch.func (grad, vmap, ...) is inside torch.compile; leave "
            "torch.compile out, or take gradients by backward() or torch.autograd.grad."
        )


def refuse_tangents(q: torch.Tensor, *more: torch.Tensor | None) -> None:
    """Refuse dual tensors, whose tangents a kernel would drop; inside a dual level alone.

    A call in float64, by its q, passes: plain PyTorch computes it.

    Raises:
        UnsupportedProblem: one of them is dual.
    """
    if getattr(q, "dtype", None) == torch.float64:
        return
    for x in (q, *more):
        if not isinstance(x, torch.Tensor):
            continue
        if forward_ad.unpack_dual(x).tangent is not None:  # type: ignore[no-untyped-call]
            raise UnsupportedProblem(NO_TANGENTS)
