"""Plan split on a SplitCase with a gate a channel, stage after stage, and its fp64 recurrence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from gdn_ops.codegen.axis import Value, defaults
from gdn_ops.codegen.module_cache import load_module
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.render import render
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.tensor import TENSORS
from gdn_ops.reference import recurrent_reference
from tests.codegen.kernels.split_case import SplitCase, torch_dtype
from tests.codegen.reads import reads_inside
from tests.stage_runner import run_stage

SCALE = 0.37
PLAN = PLANS["split"]
PER_TOKEN = ("q", "k", "v", "g", "beta")


def vector_inputs(case: SplitCase, *, raw: bool = False) -> dict[str, Tensor]:
    """The call's inputs and gradients in fp64; ``raw`` gates come with A_log and dt_bias."""
    x = case.inputs()
    if raw:
        x["g"] = (x["g"] + 0.15) * 20
        x |= {"A_log": torch.randn(case.HV), "dt_bias": torch.randn(case.HV, case.K)}
    x["do"] = torch.randn(x["v"].shape).to(torch_dtype(case.dtype))
    x["do"][:, case.covered :] = float("nan")
    x["dht"] = torch.randn(x["h0"].shape)
    return {name: value.float().double() for name, value in x.items()}


def run_plan(
    problem: Problem,
    case: SplitCase,
    x: Mapping[str, Tensor],
    folder: Path,
    *,
    interface: Mapping[str, Value] | None = None,
    axes: Mapping[str, Mapping[str, Value]] | None = None,
) -> dict[str, Any]:
    """Everything the plan's stages write; ``axes`` are values by stage that are not the default."""
    shared = {**defaults(PLAN.axes), **(interface or {}), "BT": case.BT}
    values: dict[str, Any] = {"T": case.T, "scale": SCALE, **case.tables()}
    for name, value in x.items():
        dtype = TENSORS[name].element(problem, shared).name
        values[name] = value.to(torch_dtype(dtype))
    for spec in PLAN.specs(problem):
        config = {**shared, **spec.default(problem), **(axes or {}).get(spec.name, {})}
        if spec.language == "torch":
            values |= _run_torch(spec, problem, config, values, folder)
            continue
        with reads_inside(value for value in values.values() if isinstance(value, Tensor)):
            values |= run_stage(
                spec, problem, config, given=values, sizes=case.sizes, folder=folder
            )
    return values


def expected(
    case: SplitCase, x: Mapping[str, Tensor], *, gradients: bool = False
) -> dict[str, Tensor]:
    """o and ht of the covered tokens by the recurrence, or the gradient of every input."""
    covered = {n: v[:, : case.covered] if n in (*PER_TOKEN, "do") else v for n, v in x.items()}
    leaves = {
        name: value.clone().requires_grad_(gradients)
        for name, value in covered.items()
        if name not in ("do", "dht") and (case.delta or name != "beta")
    }
    g = leaves["g"]
    if "A_log" in leaves:
        g = -leaves["A_log"].exp()[:, None] * softplus(g + leaves["dt_bias"])
    o, ht = recurrent_reference(
        leaves["q"], leaves["k"], leaves["v"], g, leaves.get("beta"),
        delta=case.delta, scale=SCALE,
        initial_state=leaves["h0"] if case.initial_state else None,
        cu_seqlens=case.tables().get("cu_seqlens"),
    )  # fmt: skip
    if not gradients:
        return {"o": o, "ht": ht}
    loss = (o * covered["do"]).sum() + ((ht * x["dht"]).sum() if case.final_state else 0.0)
    loss.backward()  # type: ignore[no-untyped-call]
    return {f"d{name}": v.grad for name, v in leaves.items() if v.grad is not None}


def raw_gate(problem: Problem) -> Problem:
    return replace(problem, gate_in_kernel=True, dt_bias=True)


def _run_torch(
    spec: KernelSpec, problem: Problem, config: Mapping[str, Value], values: Any, folder: Path
) -> dict[str, Any]:
    module = load_module(spec.name, render(spec, problem, config), folder)
    given = [values[name] for name in spec.arguments(problem, config)]
    written = getattr(module, spec.name)(*given)
    return dict(zip(spec.outputs(problem, config), written, strict=True))
