"""Run a stage of the WY form (solve, chunk_wu) alone; its references in fp64."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize

from gdn_ops.codegen.axis import Value, defaults
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.tensor import TENSORS
from tests.codegen.kernels.split_case import SplitCase, torch_dtype
from tests.codegen.reads import reads_inside
from tests.stage_runner import run_stage

BARS = {"fp32": 1e-5, "fp16": 0.005, "bf16": 0.005}
INTERFACE = defaults(PLANS["split"].axes)


def run(
    spec: KernelSpec, case: SplitCase, x: dict[str, Tensor], folder: Path, **axes: Value
) -> dict[str, Tensor]:
    """The stage's outputs in a case; axes that are not given take the default of the case."""
    config = {**INTERFACE, **spec.default(case.problem), "BT": case.BT, **axes}
    made = spec.outputs(case.problem, config)
    typed = {
        name: value.to(torch_dtype(TENSORS[name].element(case.problem, config).name))
        for name, value in x.items()
        if name not in made
    }
    tensors = {**typed, **case.tables()}
    with reads_inside(tensors.values()):
        return run_stage(
            spec,
            case.problem,
            config,
            given={**tensors, "T": case.T},
            sizes=case.sizes,
            folder=folder,
        )


def with_gc(case: SplitCase, x: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add gc as the kernels get it, rounded to fp32."""
    gc = torch.full_like(x["g"], float("nan"))
    for _, b, t, _, _ in case.chunks():
        gc[b, t] = x["g"][b, t].cumsum(0).float().double()
    return {**x, "gc": gc}


def decay(gc: Tensor) -> Tensor:
    """[t, HV] -> [t, HV, t], exp(gc_i - gc_j) for i >= j, else 0."""
    gap = gc[:, :, None] - gc.T[None]
    return torch.where(_lower(gap), gap, float("-inf")).exp()


def inverse_of(case: SplitCase, x: dict[str, Tensor], *, gate_free: bool) -> Tensor:
    """A [B, T, HV, BT]: rows of each chunk's inverse, zeros above the diagonal."""
    A = x["g"].new_full((*x["g"].shape, case.BT), float("nan"))
    for _, b, t, _, _ in case.chunks():
        k = x["k"][b, t].repeat_interleave(case.HV // case.H, dim=1)
        L = torch.einsum("ihk,jhk,ih->ihj", k, k, x["beta"][b, t])
        L = torch.where(_lower(L), L if gate_free else L * decay(x["gc"][b, t]), 0.0)
        eye = torch.eye(len(k), dtype=L.dtype).expand(case.HV, -1, -1)
        solved = torch.linalg.solve_triangular(
            L.transpose(0, 1), eye, upper=False, unitriangular=True
        )
        A[b, t] = 0.0
        A[b, t, :, : len(k)] = solved.transpose(0, 1)
    return A


def hard_keys(case: SplitCase) -> dict[str, Tensor]:
    """Inputs whose keys nearly repeat, with beta near 2: powers of L grow like 3^BT."""
    x = case.inputs()
    k = torch.randn(1, 1, case.H, case.K) + 0.3 * torch.randn(x["k"].shape)
    x["k"] = normalize(k, dim=-1).float().double()
    x["beta"] = 1.8 + 0.2 * torch.rand_like(x["beta"])
    return x


def _lower(x: Tensor) -> Tensor:
    """Whether i >= j in [i, HV, j]."""
    row = torch.arange(x.shape[0])
    return (row[:, None, None] >= row[None, None, :]).expand(x.shape)
