"""Cases of the Gluon stages of a backward for Hopper, and running one of them."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from gdn_ops.codegen.axis import Value
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.gluon_interpreter import scheduled
from tests.codegen.kernels.backward_case import (
    SCALE,
    all_gradients,
    backward_inputs,
    backward_problem,
    rounded,
    run_backward,
)
from tests.codegen.kernels.split_case import SplitCase, torch_dtype

WALKS, GRADS = "bwd_walks_sm90", "bwd_grads_sm90"
CASE = SplitCase(B=1, T=150, H=1, HV=2, K=64, V=64, BT=64, dtype="bf16")


def given(case: SplitCase) -> dict[str, Tensor]:
    """The stages' inputs in fp64, already rounded to what they get, and what follows from them."""
    x = rounded(case, backward_inputs(case), ("A",))
    x |= {name: x[name].float().double() for name in ("beta", "g")}
    kept = torch_dtype(case.dtype)
    x["dh"] = all_gradients(case, x, SCALE)["dh"]
    x |= {name: x[name].to(kept).double() for name in ("h", "dh")}
    return all_gradients(case, x, SCALE) | x


def run(
    stage: str, case: SplitCase, x: dict[str, Tensor], folder: Path, seed: int = 0, **axes: Value
) -> dict[str, Tensor]:
    """What a stage writes; ``seed`` decides the order of its partitions."""
    spec, problem = KERNELS[stage], backward_problem(case)
    names = spec.inputs(problem, {"BT": case.BT})
    with scheduled(seed):
        return run_backward(spec, case, {n: x[n] for n in names if n in x}, folder, **axes)
