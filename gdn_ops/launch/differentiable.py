"""Gradients of the rule: one launcher forward, another one, of the backward problem, back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from gdn_ops.codegen.saved_tensors import saved_names
from gdn_ops.errors import UnsupportedProblem
from gdn_ops.launch.call import DIFFERENTIABLE, Call
from gdn_ops.launch.launcher import Launcher

BackwardOf = Callable[[bool], Launcher]
"""The launcher of the backward problem, with or without a gradient of the final state."""


class Differentiable:
    """A launcher whose results carry gradients.

    The inputs are kept for the backward pass, and what is named; the rest is computed again.

    Args:
        forward: of the forward or decode problem.
        backward: gives the launcher of its gradients; called when they are asked for.
        keep: the choice of what to keep, one of ``SAVING``.
        names: tensors of the forward's stages that are kept by this choice.
    """

    def __init__(
        self,
        forward: Launcher,
        backward: BackwardOf,
        keep: str = "inputs",
        names: tuple[str, ...] = (),
    ) -> None:
        self.forward, self.backward = forward, backward
        self.keep, self.names = keep, names
        self.scale = forward.scale

    def __call__(self, call: Call) -> tuple[torch.Tensor, torch.Tensor | None]:
        inputs = (getattr(call, name) for name in DIFFERENTIABLE)
        results: tuple[torch.Tensor, torch.Tensor | None] = _Rule.apply(self, call, *inputs)  # type: ignore[no-untyped-call]
        return results

    def given(self, backward: Launcher, kept: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        """What was kept and this backward may read.

        Where no gradient of the final state comes in it may be another variant than the one that
        the forward made room for.
        """
        if not kept:
            return {}
        forward = self.forward
        names = saved_names(
            self.keep, forward.variant, forward.problem, backward.variant, backward.problem
        )
        return {n: x for n, x in zip(self.names, kept, strict=True) if n in names}


class _Rule(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, launchers: Differentiable, call: Call, *inputs: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        o, ht, kept = launchers.forward.leaving(call, launchers.names)
        # saved by autograd, which sees to it that no input is changed before its gradient is taken
        ctx.save_for_backward(*inputs, *kept, *_offsets(call))
        ctx.set_materialize_grads(False)
        ctx.launchers, ctx.scale, ctx.packing = launchers, call.scale, call.packing
        return _own(o), None if ht is None else _own(ht)

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
        saved = ctx.saved_tensors
        inputs = dict(zip(DIFFERENTIABLE, saved[: len(DIFFERENTIABLE)], strict=True))
        launchers: Differentiable = ctx.launchers
        if do is None:
            do = torch.zeros_like(inputs["v"], memory_format=torch.contiguous_format)
        call = Call(**inputs, scale=ctx.scale, packing=ctx.packing, do=do, dht=dht)
        backward = launchers.backward(dht is not None)
        needed = zip(DIFFERENTIABLE, ctx.needs_input_grad[2:], strict=True)
        wanted = [name for name, needs in needed if needs]
        rest = saved[len(DIFFERENTIABLE) :]
        given = launchers.given(backward, rest[: len(launchers.names)])
        gradients = backward.gradients(call, wanted, given)
        return (
            None,
            None,
            *(
                gradients[f"d{name}"].to(inputs[name].dtype) if name in wanted else None
                for name in DIFFERENTIABLE
            ),
        )


def _offsets(call: Call) -> list[torch.Tensor]:
    """``cu_seqlens`` of a packed call, for autograd to see that it is not changed either."""
    if call.packing is None or call.packing.cu_seqlens.is_inference():
        return []
    return [call.packing.cu_seqlens]


def _own(x: torch.Tensor) -> torch.Tensor:
    """x as no view, on the same memory: autograd refuses to change a view among several results."""
    if not x._is_view():
        return x
    return x.new_empty(0).set_(x.untyped_storage(), x.storage_offset(), x.shape, x.stride())
