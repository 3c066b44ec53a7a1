"""The gradients of plan recurrent, stage by stage, beside those of the recurrence in fp64."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from gdn_ops.codegen.axis import Value
from gdn_ops.codegen.module_cache import load_module
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.render import render
from gdn_ops.codegen.tensor import TENSORS
from gdn_ops.codegen.variant import Variant
from gdn_ops.reference import recurrent_reference
from gdn_ops.reference.activations import log_decay
from tests.close import assert_close
from tests.codegen.kernels.split_case import SplitCase, torch_dtype
from tests.codegen.reads import reads_inside
from tests.stage_runner import run_stage

SCALE = 0.37
ROUNDED = ("dq", "dk", "dv")
PLAN = PLANS["recurrent"]


def problem_of(case: SplitCase, *, raw: bool = False, dt_bias: bool = True) -> Problem:
    """The problem of the case's gradients; ``raw``: its gate comes raw."""
    problem = case.problem.backward(final_state=case.final_state)
    return replace(problem, gate_in_kernel=raw, dt_bias=raw and dt_bias)


def inputs_of(case: SplitCase, problem: Problem) -> dict[str, Tensor]:
    """The inputs in fp64, rounded to what the kernels get, without what they do not get."""
    x = case.inputs()
    x["do"] = torch.randn(x["v"].shape).to(torch_dtype(case.dtype)).double()
    x["do"][:, case.covered :] = float("nan")
    x["dht"] = torch.randn(x["h0"].shape).double()
    if problem.gate_in_kernel:
        x["g"] = 40 * torch.randn_like(x["g"])
        x["g"][:, case.T // 2] = 1e30  # rounding of its gradient, if any is left, shows in A_log's
        x["A_log"] = torch.randn(case.HV).double()
        x["dt_bias"] = torch.randn(x["g"].shape[2:]).double()
    left_out = {
        "g": case.gate == "none", "beta": not case.delta, "h0": not case.initial_state,
        "dht": not case.final_state, "dt_bias": not problem.dt_bias,
    }  # fmt: skip
    fp32 = ("g", "beta", "h0", "dht")
    return {
        name: value.float().double() if name in fp32 else value
        for name, value in x.items()
        if not left_out.get(name)
    }


def gradients(
    case: SplitCase,
    problem: Problem,
    x: dict[str, Tensor],
    folder: Path,
    width: int,
    **axes: Value,
) -> dict[str, Tensor]:
    """What the stages write on poisoned tensors, one after the other; axes go to every stage."""
    walks = [name for name in PLAN.stages(problem) if name != "recurrent_bwd_total"]
    variant = Variant.of("recurrent", problem, {"slice": width}, dict.fromkeys(walks, axes))
    tensors = {
        name: value.to(torch_dtype(TENSORS[name].element(problem, {}).name))
        for name, value in x.items()
    }
    tensors |= case.tables()
    for spec in PLAN.specs(problem):
        config = variant.config(spec.name)
        if spec.language == "torch":
            function = getattr(
                load_module(spec.name, render(spec, problem, config), folder), spec.name
            )
            out = function(*(tensors[name] for name in spec.arguments(problem, config)))
            tensors |= dict(zip(spec.outputs(problem, config), out, strict=True))
            continue
        given: dict[str, Tensor | float | int] = {**tensors, "T": case.T, "scale": SCALE}
        with reads_inside(tensors.values()):
            tensors |= run_stage(
                spec, problem, config, given=given, sizes=case.sizes, folder=folder
            )
    return {f"d{name}": tensors[f"d{name}"] for name in x if f"d{name}" in tensors}


def expected(case: SplitCase, problem: Problem, x: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same by autograd through the recurrence."""
    skipped = ("do", "dht")
    # a NaN at tokens of no sequence would reach the sums
    leaves = {
        name: value.nan_to_num().requires_grad_()
        for name, value in x.items()
        if name not in skipped
    }
    g = leaves.get("g")
    if problem.gate_in_kernel:
        g = log_decay(leaves["g"], leaves["A_log"], leaves.get("dt_bias"))
    o, ht = recurrent_reference(
        leaves["q"], leaves["k"], leaves["v"], g, leaves.get("beta"),
        delta=case.delta, scale=SCALE, initial_state=leaves.get("h0"),
        cu_seqlens=case.tables().get("cu_seqlens"),
    )  # fmt: skip
    loss = (o * x["do"].nan_to_num()).sum()
    if case.final_state:
        loss = loss + (ht * x["dht"]).sum()
    found = torch.autograd.grad(loss, list(leaves.values()))
    return {f"d{name}": value for name, value in zip(leaves, found, strict=True)}


def check(
    case: SplitCase,
    folder: Path,
    *,
    raw: bool = False,
    dt_bias: bool = True,
    width: int = 64,
    **axes: Value,
) -> dict[str, Tensor]:
    """Run every stage and compare every gradient with the recurrence's."""
    problem = problem_of(case, raw=raw, dt_bias=dt_bias)
    x = inputs_of(case, problem)
    out = gradients(case, problem, x, folder, width, **axes)
    reference = expected(case, problem, x)
    assert out.keys() == reference.keys()
    for name, value in reference.items():
        bar = 8e-3 if case.dtype != "fp32" and name in ROUNDED else 1e-4
        tokens = slice(0, case.covered) if name[1:] in ("q", "k", "v", "g", "beta") else slice(None)
        got = out[name]
        if tokens.stop is not None:
            assert got[:, case.covered :].isnan().all(), f"{name} of tokens of no sequence"
            value, got = value[:, tokens], got[:, tokens]
        assert_close(name, value, got, bar)
    return out
