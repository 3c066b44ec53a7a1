"""The tensor descriptors that a Gluon stage is launched with."""

from __future__ import annotations

from typing import Any

import torch

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.gluon import descriptor_layout
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.tensor import TENSORS

MOST_PLACES = 256
"""Descriptors that a stage remembers; a served model's tensors come back to the same places."""


class _Place:
    """Where a tensor is, without keeping its memory."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self._address, self.dtype = tensor.data_ptr(), tensor.dtype

    def data_ptr(self) -> int:
        return self._address


class Descriptors:
    """Makes the tensor descriptors of a stage; one is made once per place and shape of a tensor.

    Args:
        spec, problem, config: of the stage; ``spec.blocks`` says which tensors have one.
        interpret: whether they are for the interpreter of Gluon.
    """

    def __init__(
        self, spec: KernelSpec, problem: Problem, config: Config, *, interpret: bool
    ) -> None:
        self._blocks = dict(spec.blocks(problem, config))
        self._elements = {name: TENSORS[name].element(problem, config) for name in self._blocks}
        self._interpret = interpret
        self._known: dict[tuple[str, int, int], Any] = {}

    def of(self, name: str, tensor: torch.Tensor) -> Any:
        """The descriptor of a tensor [B, T, ...] as a matrix with one row per token.

        A tensor of states [chunks, HV, K, V] has one row per key channel.
        """
        leading = 2 if TENSORS[name].shape[0] == "B" else tensor.dim() - 1
        rows, columns = tensor.shape[:leading].numel(), tensor.shape[leading:].numel()
        if self._interpret:
            from gdn_ops.gluon_interpreter.copies import TensorDescriptor as Interpreted

            return Interpreted(tensor, (rows, columns), self._blocks[name])
        if not rows:
            # a descriptor needs a row; with no token nothing is copied
            return self._made(name, _Place(tensor.new_empty(columns)), 1, columns)
        key = (name, tensor.data_ptr(), rows)
        descriptor = self._known.get(key)
        if descriptor is None:
            if len(self._known) >= MOST_PLACES:
                self._known.clear()
            descriptor = self._made(name, _Place(tensor), rows, columns)
            self._known[key] = descriptor
        return descriptor

    def _made(self, name: str, place: _Place, rows: int, columns: int) -> Any:
        from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

        block = self._blocks[name]
        layout = descriptor_layout(self._elements[name], block)
        return TensorDescriptor(place, [rows, columns], [columns, 1], list(block), layout)
