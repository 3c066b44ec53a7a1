"""Gradients of a small call of a plan on segments, and what they are compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gdn_ops.codegen.axis import Value
from gdn_ops.codegen.variant import Variant
from gdn_ops.launch.bind import bind
from gdn_ops.launch.call import Call
from gdn_ops.launch.launcher import Launcher
from gdn_ops.reference import recurrent_reference
from tests.close import assert_close
from tests.codegen.kernels.segment_case import CHUNKS, SEG, call_of, launcher_of

INPUTS = ("q", "k", "v", "g", "beta")
LOOSE = ("dg", "dbeta")


def gradients_given(x: dict[str, Any], seed: int = 1) -> dict[str, Tensor | None]:
    """do, which is NaN at tokens of no sequence, and dht where the call has states."""
    torch.manual_seed(seed)
    do, cu = torch.randn(x["v"].shape).to(x["v"].dtype), x["cu_seqlens"]
    if cu is not None:
        do[:, int(cu[-1]) :] = float("nan")
    h0 = x["initial_state"]
    return {"do": do, "dht": None if h0 is None else torch.randn(h0.shape)}


def expected(x: dict[str, Any], given: Mapping[str, Tensor | None]) -> dict[str, Tensor]:
    """The gradients by autograd of the recurrence in fp64, by the names of a launcher."""
    names = {n: "h0" if n == "initial_state" else n for n in x if isinstance(x[n], Tensor)}
    wide = {n: x[n].double().requires_grad_() for n in names if n != "cu_seqlens"}
    o, ht = recurrent_reference(**wide, cu_seqlens=x["cu_seqlens"])
    do, dht = given["do"], given["dht"]
    assert do is not None
    loss = (o * do.double())[:, : end_of(x)].sum()
    if dht is not None:
        loss = loss + (ht * dht.double()).sum()
    torch.autograd.backward([loss])
    return {f"d{names[n]}": y.grad for n, y in wide.items() if y.grad is not None}


def end_of(x: dict[str, Any]) -> int:
    return x["q"].shape[1] if x["cu_seqlens"] is None else int(x["cu_seqlens"][-1])


def backward_launcher(
    x: dict[str, Any],
    stages: dict[str, dict[str, Value]] | None = None,
    plan: str = "segmented",
) -> Launcher:
    """The plan's gradients of a call on segments of SEG chunks, for the interpreter."""
    problem = launcher_of(x, plan=plan).problem
    problem = problem.backward(final_state=x["initial_state"] is not None)
    variant = Variant.of(plan, problem, {"BT": CHUNKS[plan], "SEG": SEG}, stages)
    return bind(problem, variant, interpret=True)


def backward_call(x: dict[str, Any], given: Mapping[str, Tensor | None]) -> Call:
    return replace(call_of(x), do=given["do"], dht=given["dht"])


def gradient_before(x: dict[str, Any], b: int, tokens: slice, do: Tensor, after: Tensor) -> Tensor:
    """[HV, K, V]: the gradient of the state before some tokens of a row, in fp64."""
    rows = {n: x[n][b : b + 1, tokens].double() for n in INPUTS if x[n] is not None}
    before = torch.zeros_like(after).requires_grad_()
    o, ht = recurrent_reference(**rows, initial_state=before[None])
    loss = (o * do[b : b + 1, tokens].double()).sum() + (ht[0] * after).sum()
    torch.autograd.backward([loss])
    assert before.grad is not None
    return before.grad


def walked(x: dict[str, Any], given: Mapping[str, Tensor | None], *, until: str) -> dict[str, Any]:
    """What the stages of plan segmented_sm90 made up to one, and what they were given."""
    launcher = backward_launcher(x, plan="segmented_sm90")
    workspace = launcher.workspace(backward_call(x, given))
    for stage in launcher.stages:
        stage.launch(workspace)
        if stage.name == until:
            break
    return workspace.values


def check_gradients(
    x: dict[str, Any],
    stages: dict[str, dict[str, Value]] | None = None,
    plan: str = "segmented",
) -> dict[str, Tensor]:
    """Compare all gradients with autograd of the recurrence in fp64, and return them."""
    given = gradients_given(x)
    found = backward_launcher(x, stages, plan).gradients(backward_call(x, given))
    reference, end = expected(x, given), end_of(x)
    assert set(found) == set(reference)
    for name, value in found.items():
        bar = 1e-4 if x["q"].dtype == torch.float32 else 0.02 if name in LOOSE else 0.008
        if name == "dh0":
            assert_close(name, reference[name], value, bar)
            continue
        assert_close(name, reference[name][:, :end], value[:, :end], bar)
        assert not value[:, end:].any()
    return found
