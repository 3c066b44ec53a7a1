"""Run one rendered stage in the interpreter of its language, its outputs poisoned."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.interpreter.patches import patch_interpreter
from gdn_ops.codegen.module_cache import load_module
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.render import render
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.tensor import TENSORS, Sizes
from gdn_ops.launch.descriptors import Descriptors
from gdn_ops.launch.torch_dtype import torch_dtype

POISON = -7
"""What integers are before a stage writes them; other numbers are NaN."""


def run_stage(
    spec: KernelSpec,
    problem: Problem,
    config: Config,
    *,
    given: Mapping[str, torch.Tensor | float | int],
    sizes: Sizes,
    folder: Path,
) -> dict[str, torch.Tensor]:
    """Launch the stage on the CPU; ``given`` holds its inputs and scalars by name.

    An output that is given, too, is written where it stands and is not returned.
    """
    patch_interpreter()
    module = load_module(spec.name, render(spec, problem, config, interpret=True), folder)
    outputs = {}
    for name in spec.outputs(problem, config):
        if name in given:
            continue
        tensor = TENSORS[name]
        dtype = torch_dtype(tensor.element(problem, config))
        shape = tensor.dims(problem, config, sizes)
        poison = float("nan") if dtype.is_floating_point else POISON
        outputs[name] = torch.full(shape, poison, dtype=dtype)
    values, descriptors = {**given, **outputs}, Descriptors(spec, problem, config, interpret=True)
    for name in spec.blocks(problem, config):
        values[f"d_{name}"] = descriptors.of(name, values[name])
    arguments = [values[name] for name in spec.parameters(problem, config)]
    getattr(module, spec.name)[spec.grid(problem, config, sizes)](*arguments)
    return outputs
