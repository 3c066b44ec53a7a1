"""Gradients of the operators, and the rule inside transforms of torch.func."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gdn_ops.errors import UnsupportedProblem
from gdn_ops.launch.call import DIFFERENTIABLE
from gdn_ops.ops.unreadable import NO_TANGENTS, transforming

NO_SECOND = (
    "gradients of gradients (create_graph=True, torch.func.hessian) are requested, which no plan "
    "computes; leave them out, or use gdn_ops.reference."
)


def keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    """Save what ``gradients`` needs from a call of ``gdn_ops::rule``."""
    tensors = inputs[: len(DIFFERENTIABLE) + 2]
    ctx.scale, ctx.final_state, ctx.delta = inputs[len(tensors) : len(tensors) + 3]
    ctx.inputs = len(inputs)
    ctx.save_for_backward(*tensors, output[2])
    ctx.set_materialize_grads(False)


def gradients(
    ctx: Any, do: Tensor | None, dht: Tensor | None, _: Tensor | None
) -> tuple[Tensor | None, ...]:
    """Return the gradients of the inputs of ``gdn_ops::rule``; None for offsets and flags."""
    *tensors, mode = ctx.saved_tensors
    if do is None:
        do = torch.zeros_like(tensors[2], memory_format=torch.contiguous_format)
    dht = dht if ctx.final_state else None
    run: Any = TransformedBackward.apply if transforming() else torch.ops.gdn_ops.rule_backward
    computed = iter(run(*tensors, ctx.scale, do, dht, mode, ctx.delta))
    differentiable = tensors[: len(DIFFERENTIABLE)]
    by_input = tuple(None if x is None else next(computed) for x in differentiable)
    return (*by_input, *(None,) * (ctx.inputs - len(by_input)))


def no_gradients(ctx: Any, *_: Any) -> Any:
    """Refuse gradients of ``gdn_ops::rule_backward``."""
    raise UnsupportedProblem(NO_SECOND)


def _one_by_one(
    function: Callable[..., tuple[Tensor, ...]], info: Any, dims: tuple[int | None, ...],
    inputs: tuple[Any, ...],
) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:  # fmt: skip
    """Apply a function to each element of a vmap batch in turn, and stack the results."""
    if info.batch_size == 0:
        raise UnsupportedProblem("vmap over a dimension of size 0; give at least one element.")
    rows = [
        function(
            *(x if dim is None else x.select(dim, n) for x, dim in zip(inputs, dims, strict=True))
        )
        for n in range(info.batch_size)
    ]
    stacked = tuple(torch.stack(x) for x in zip(*rows, strict=True))
    return stacked, (0,) * len(stacked)


class Transformed(torch.autograd.Function):
    """``gdn_ops::rule`` with its gradients, for calls inside transforms of torch.func."""

    setup_context = staticmethod(keep)
    backward = staticmethod(gradients)

    @staticmethod
    def forward(*inputs: Any) -> tuple[Tensor, Tensor, Tensor]:
        results: tuple[Tensor, Tensor, Tensor] = torch.ops.gdn_ops.rule(*inputs)
        return results

    @staticmethod
    def vmap(info: Any, dims: Any, *inputs: Any) -> Any:
        return _one_by_one(Transformed.apply, info, dims, inputs)

    @staticmethod
    def jvp(ctx: Any, *_: Any) -> Any:
        raise UnsupportedProblem(NO_TANGENTS)


class TransformedBackward(torch.autograd.Function):
    """``gdn_ops::rule_backward``, for calls inside transforms of torch.func."""

    backward = staticmethod(no_gradients)

    @staticmethod
    def forward(*inputs: Any) -> tuple[Tensor, ...]:
        return tuple(torch.ops.gdn_ops.rule_backward(*inputs))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Save nothing."""

    @staticmethod
    def vmap(info: Any, dims: Any, *inputs: Any) -> Any:
        return _one_by_one(TransformedBackward.apply, info, dims, inputs)

    @staticmethod
    def jvp(ctx: Any, *_: Any) -> Any:
        raise UnsupportedProblem(NO_TANGENTS)
