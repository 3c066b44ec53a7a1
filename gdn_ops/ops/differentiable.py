"""Gradients of the rule: one launcher forward, another one, of the backward problem, back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from gdn_ops.call import DIFFERENTIABLE, Call
from gdn_ops.errors import UnsupportedProblem
from gdn_ops.launch import Launcher

BackwardOf = Callable[[bool], Launcher]
"""The launcher of the backward problem, with or without a gradient of the final state."""


class Differentiable:
    """A launcher whose results carry gradients.

    Nothing but the inputs is kept for the backward pass, which computes the rest again.

    Args:
        forward: of the forward or decode problem.
        backward: gives the launcher of its gradients; called when they are first asked for.
    """

    def __init__(self, forward: Launcher, backward: BackwardOf) -> None:
        self.forward, self.backward = forward, backward
        self.scale = forward.scale

    def __call__(self, call: Call) -> tuple[torch.Tensor, torch.Tensor | None]:
        inputs = (getattr(call, name) for name in DIFFERENTIABLE)
        results: tuple[torch.Tensor, torch.Tensor | None] = _Rule.apply(self, call, *inputs)  # type: ignore[no-untyped-call]
        return results


class _Rule(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, launchers: Differentiable, call: Call, *inputs: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        # saved by autograd, which sees to it that no input is changed before its gradient is taken
        ctx.save_for_backward(*inputs)
        ctx.set_materialize_grads(False)
        ctx.launchers, ctx.scale, ctx.packing = launchers, call.scale, call.packing
        return launchers.forward(call)

    @staticmethod
    def backward(
        ctx: Any, do: torch.Tensor | None, dht: torch.Tensor | None
    ) -> tuple[torch.Tensor | None, ...]:
        if torch.is_grad_enabled():
            # autograd would take the gradients for constants, and say nothing
            raise UnsupportedProblem(
                "create_graph=True asks for gradients of gradients, which no plan has; leave it "
                "out, or use gdn_ops.reference."
            )
        inputs = dict(zip(DIFFERENTIABLE, ctx.saved_tensors, strict=True))
        launchers: Differentiable = ctx.launchers
        if do is None:
            do = torch.zeros_like(inputs["v"], memory_format=torch.contiguous_format)
        call = Call(**inputs, scale=ctx.scale, packing=ctx.packing, do=do, dht=dht)
        gradients = launchers.backward(dht is not None).gradients(call)
        wanted = zip(DIFFERENTIABLE, ctx.needs_input_grad[2:], strict=True)
        return (
            None,
            None,
            *(gradients[f"d{n}"].to(inputs[n].dtype) if needed else None for n, needed in wanted),
        )
