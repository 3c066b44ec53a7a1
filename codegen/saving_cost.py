"""Kept: what each choice of ``SAVING`` costs in memory, and the bytes that the backward moves."""

from __future__ import annotations

from dataclasses import dataclass

from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.saved_tensors import SAVING, SavedTensors, saved_tensors_of
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.traffic import tensor_bytes, variant_bytes
from gdn_ops.codegen.variant import Variant


@dataclass(frozen=True)
class Kept:
    """One choice of what stays in memory from a forward to its backward, with its cost.

    Args:
        keep: one of ``SAVING``.
        saved: the tensors, and the variant that the forward runs as.
        realigned: whether that variant differs from the one without this choice.
        bytes: bytes per token and value head that they take besides the inputs.
        moved: bytes per token and value head that the backward moves; None in plain PyTorch, where
            they are not counted.
    """

    keep: str
    saved: SavedTensors
    realigned: bool
    bytes: float
    moved: float | None

    def __str__(self) -> str:
        left = self.saved
        if left.why:
            return f"nothing but the inputs: {left.why}"
        text = "nothing but the inputs" if self.keep == "inputs" else f"{self.bytes:.0f} bytes more"
        if left.names:
            text += f" per token and value head ({', '.join(left.names)})"
        if self.realigned:
            text += f"; the forward runs as {left.forward}, which the backward needs"
        return text if self.moved is None else f"{text}; the backward moves {self.moved:.0f}"


def kept_by_choice(
    forward: Variant,
    problem: Problem,
    backward: Variant,
    gradients: Problem,
    target: Target,
    *,
    fixed: bool = False,
) -> tuple[Kept, ...]:
    """The cost of each choice, in the order of ``SAVING``; arguments as of ``saved_tensors_of``."""
    compiled = not backward.provider and any(KERNELS[name].compiled for name, _ in backward.stages)
    rows = []
    for keep in SAVING:
        left = saved_tensors_of(keep, forward, problem, backward, gradients, target, fixed=fixed)
        size = tensor_bytes(left.names, gradients, dict(backward.interface))
        moved = variant_bytes(backward, gradients, left.names) if compiled else None
        rows.append(Kept(keep, left, left.forward != forward, size, moved))
    return tuple(rows)


def input_bytes(problem: Problem) -> float:
    """The bytes per token and value head of the rule's inputs, which a model keeps anyway."""
    gate = ("g",) if problem.rule.gate != "none" else ()
    strength = ("beta",) if problem.rule.delta else ()
    return tensor_bytes(("q", "k", "v", *gate, *strength), problem, {})
