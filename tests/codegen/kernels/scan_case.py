"""What the stages that walk over chunks and write o are given, and running one of them."""

from __future__ import annotations

from pathlib import Path

import torch

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.tensor import TENSORS
from tests.codegen.kernels.split_case import SplitCase, output_of, state_of, torch_dtype, with_w_u
from tests.codegen.kernels.wy import inverse_of
from tests.codegen.reads import reads_inside
from tests.stage_runner import run_stage

SCALE = 0.37


def given(
    case: SplitCase, store: str = "io", *, gate_free: bool = False
) -> dict[str, torch.Tensor]:
    """The stage's inputs in fp64, already rounded to what the kernel gets, and what follows."""
    x = case.inputs()
    for name in ("beta", "h0"):
        x[name] = x[name].float().double()
    x = with_w_u(case, x)
    x["gc"] = x["gc"].float().double()
    kept = torch_dtype("fp32" if store == "fp32" else case.dtype)
    x["A"] = inverse_of(case, x, gate_free=gate_free).to(kept).double()
    x |= state_of(case, x)
    return x | {"o": output_of(case, x, SCALE)}


def run_walk(
    spec: KernelSpec, case: SplitCase, x: dict[str, torch.Tensor], config: Config, folder: Path
) -> dict[str, torch.Tensor]:
    """Run a stage on the CPU.

    Args:
        x: at least its inputs, in any dtype.
        config: a value for every axis that the stage sees.
    """
    names = [name for name in spec.inputs(case.problem, config) if name in x]
    typed = {
        name: x[name].to(torch_dtype(TENSORS[name].element(case.problem, config).name))
        for name in names
    }
    tensors = {**typed, **case.tables()}
    arguments: dict[str, torch.Tensor | float | int] = {**tensors, "T": case.T, "scale": SCALE}
    with reads_inside(tensors.values()):
        return run_stage(
            spec, case.problem, config, given=arguments, sizes=case.sizes, folder=folder
        )
