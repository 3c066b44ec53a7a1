"""Kept: what each choice of ``SAVING`` costs in memory, and what it spares the backward."""

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
    """One choice of what stays in memory from a forward to its backward.

    Args:
        keep: one of ``SAVING``.
        saved: the tensors, and the variant that the forward runs on.
        realigned: whether that is another variant than it would run on without.
        bytes: what they take beside the inputs, a token of a value head.
        moved: bytes that the backward then moves, a token of a value head; None of plain PyTorch,
            whose tensors nobody counts.
    """

    keep: str
    saved: SavedTensors
    realigned: bool
    bytes: float
    moved: float | None

    def __str__(self) -> str:
        left = self.saved
        if left.why:
            return f"no more than the inputs: {left.why}"
        text = "nothing but the inputs" if self.keep == "inputs" else f"{self.bytes:.0f} bytes more"
        if left.names:
            text += f" a token of a value head ({', '.join(left.names)})"
        if self.realigned:
            text += f"; the forward runs as {left.forward}, as the backward needs it"
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
    """Every choice, in the order of ``SAVING``; arguments as of ``saved_tensors_of``."""
    compiled = any(KERNELS[name].language == "triton" for name, _ in backward.stages)
    rows = []
    for keep in SAVING:
        left = saved_tensors_of(keep, forward, problem, backward, gradients, target, fixed=fixed)
        size = tensor_bytes(left.names, gradients, dict(backward.interface))
        moved = variant_bytes(backward, gradients, left.names) if compiled else None
        rows.append(Kept(keep, left, left.forward != forward, size, moved))
    return tuple(rows)


def input_bytes(problem: Problem) -> float:
    """What a model's own inputs of the rule take, a token of a value head."""
    gate = ("g",) if problem.rule.gate != "none" else ()
    strength = ("beta",) if problem.rule.delta else ()
    return tensor_bytes(("q", "k", "v", *gate, *strength), problem, {})
