"""Gradients: an autograd function around a launcher of the forward and one of the backward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from gdn_ops.codegen.saved_tensors import saved_names
from gdn_ops.errors import UnsupportedProblem
from gdn_ops.launch.call import DIFFERENTIABLE, Call
from gdn_ops.launch.launcher import Launcher
from gdn_ops.record import RECORDERS, record

BackwardOf = Callable[[bool], Launcher]
"""Returns the launcher of the backward problem. True: the final state has a gradient too."""


class Differentiable:
    """A launcher whose results can be differentiated.

    The inputs and the named tensors are saved for the backward, which recomputes the rest.

    Args:
        forward: the launcher of the forward or decode problem.
        backward: returns the launcher of the gradients; called in the backward pass.
        keep: the setting of ``saving_for_backward``, one of ``SAVING``.
        names: the tensors of the forward's stages to save.
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
        self.problem, self.scale = forward.problem, forward.scale

    def __call__(self, call: Call) -> tuple[torch.Tensor, torch.Tensor | None]:
        inputs = (getattr(call, name) for name in DIFFERENTIABLE)
        results: tuple[torch.Tensor, torch.Tensor | None] = _Rule.apply(self, call, *inputs)  # type: ignore[no-untyped-call]
        return results

    def readable(
        self, backward: Launcher, saved: Sequence[torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """Return those of the saved tensors that this backward can read, by name.

        Without a gradient of the final state the backward may run on another variant than the one
        for which the tensors were saved.
        """
        if not saved:
            return {}
        forward = self.forward
        names = saved_names(
            self.keep, forward.variant, forward.problem, backward.variant, backward.problem
        )
        return {n: x for n, x in zip(self.names, saved, strict=True) if n in names}


class _Rule(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, launchers: Differentiable, call: Call, *inputs: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        o, ht, saved = launchers.forward.run_and_save(call, launchers.names)
        # Autograd raises an error if one of these is modified in place before the backward.
        ctx.save_for_backward(*inputs, *saved, *_offsets(call))
        ctx.set_materialize_grads(False)
        ctx.launchers, ctx.scale, ctx.packing = launchers, call.scale, call.packing
        return _not_a_view(o), None if ht is None else _not_a_view(ht)

    @staticmethod
    def backward(
        ctx: Any, do: torch.Tensor | None, dht: torch.Tensor | None
    ) -> tuple[torch.Tensor | None, ...]:
        if torch.is_grad_enabled():
            # Otherwise autograd would silently treat the gradients as constants.
            raise UnsupportedProblem(
                "create_graph=True requests gradients of gradients, which no plan computes; leave "
                "it out, or use gdn_ops.reference."
            )
        saved = ctx.saved_tensors
        inputs = dict(zip(DIFFERENTIABLE, saved[: len(DIFFERENTIABLE)], strict=True))
        launchers: Differentiable = ctx.launchers
        if do is None:
            do = torch.zeros_like(inputs["v"], memory_format=torch.contiguous_format)
        call = Call(**inputs, scale=ctx.scale, packing=ctx.packing, do=do, dht=dht)
        backward = launchers.backward(dht is not None)
        if RECORDERS:
            record(backward.problem)
        needed = zip(DIFFERENTIABLE, ctx.needs_input_grad[2:], strict=True)
        wanted = [name for name, needs in needed if needs]
        rest = saved[len(DIFFERENTIABLE) :]
        given = launchers.readable(backward, rest[: len(launchers.names)])
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
    """Return ``cu_seqlens`` of a packed call, so that autograd checks that it is not modified."""
    if call.packing is None or call.packing.cu_seqlens.is_inference():
        return []
    return [call.packing.cu_seqlens]


def _not_a_view(x: torch.Tensor) -> torch.Tensor:
    """Return x on the same memory, but not as a view.

    Autograd does not allow in-place changes of a view that a function with several results returns.
    """
    if not x._is_view():
        return x
    return x.new_empty(0).set_(x.untyped_storage(), x.storage_offset(), x.shape, x.stride())
