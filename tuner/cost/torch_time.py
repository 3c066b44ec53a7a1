"""Predicted time of a plan in plain PyTorch on a CPU, from the operations that it calls."""

from __future__ import annotations

import torch

from gdn_ops.codegen.errors import UnsupportedProblem
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.tensor import TENSORS, Sizes
from gdn_ops.codegen.variant import Variant
from gdn_ops.launch.bind import bind
from gdn_ops.launch.launcher import Launcher
from gdn_ops.launch.stage_launcher import Workspace
from gdn_ops.launch.torch_dtype import torch_dtype
from gdn_ops.tuner.cost.rates import Rates
from gdn_ops.tuner.cost.tape import Op, Tape

FULL_ROWS = 32
"""A product with fewer rows does not reach its rate."""
LARGE = 1 << 20
"""A result of at least this many bytes gets new memory from the system in every call."""


def torch_seconds(problem: Problem, variant: Variant, rates: Rates) -> float:
    """The sum over a variant's operations: for each a fixed time, and its FLOPs or its bytes.

    Raises:
        UnsupportedProblem: packed sequences, because the operations depend on their lengths.
    """
    if problem.varlen:
        raise UnsupportedProblem(
            f"the cost of {problem.id()} in PyTorch depends on the lengths of its packed "
            "sequences; predict it without varlen."
        )
    tape = Tape()
    with torch.no_grad(), tape:
        _run_on_meta(bind(problem, variant, interpret=False), problem)
    return sum(_seconds(op, rates) for op in tape.ops)


def _run_on_meta(launcher: Launcher, problem: Problem) -> None:
    sizes = Sizes.typical(problem, dict(launcher.variant.interface))
    values = Workspace(sizes, {"T": sizes.T, "scale": 1.0, "offsets": None}).values
    for stage in launcher.stages:
        for name in stage.arguments:
            if name not in values:
                tensor = TENSORS[name]
                shape = tensor.dims(problem, stage.config, sizes)
                dtype = torch_dtype(tensor.element(problem, stage.config))
                values[name] = torch.empty(shape, dtype=dtype, device="meta")
        results = stage.function(*(values[name] for name in stage.arguments))
        values.update(zip(stage.outputs, results, strict=True))


def _seconds(op: Op, rates: Rates) -> float:
    seconds = rates.op + (op.fresh / rates.fresh if op.fresh >= LARGE else 0.0)
    if not op.flops:
        return seconds + op.bytes / rates.moved
    assert op.dtype is not None
    rate = rates.flops.get(op.dtype, rates.flops[torch.float32])
    return seconds + op.flops / (rate * min(1.0, op.rows / FULL_ROWS))
