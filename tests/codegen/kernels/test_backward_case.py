"""The backward's fp64 formulas together are the gradient of the recurrence."""

from __future__ import annotations

import pytest
import torch

from gdn_ops.reference import recurrent_reference
from tests.close import assert_close
from tests.codegen.kernels.backward_case import SCALE, all_gradients, backward_inputs
from tests.codegen.kernels.split_case import SplitCase

CASE = SplitCase(B=2, K=12, V=20)
LEAVES = ("q", "k", "v", "g", "beta", "h0")


@pytest.mark.parametrize(
    "case",
    [
        CASE,
        CASE.with_(H=2, HV=4, gate="strong"),
        CASE.with_(gate="none"),
        CASE.with_(final_state=False),
        CASE.with_(delta=False, H=1, HV=2),
        CASE.with_(delta=False, gate="none", B=1, offsets=(0, 0, 21, 40)),
        CASE.with_(B=1, offsets=(0, 0, 21, 21, 37, 40)),
    ],
)
def test_the_stages_together_are_the_gradient_of_the_recurrence(case: SplitCase) -> None:
    x = backward_inputs(case)
    names = [name for name in LEAVES if case.delta or name != "beta"]
    leaves = {name: x[name].clone().requires_grad_() for name in names}
    o, ht = recurrent_reference(
        *(leaves[name] for name in names[:-1]),
        delta=case.delta,
        scale=SCALE,
        initial_state=leaves["h0"],
        cu_seqlens=case.tables().get("cu_seqlens"),
    )
    loss = (o * x["do"]).sum() + ((ht * x["dht"]).sum() if case.final_state else 0.0)
    wanted = torch.autograd.grad(loss, list(leaves.values()))
    found = all_gradients(case, x, SCALE)
    for name, gradient in zip(names, wanted, strict=True):
        assert_close(f"d{name}", gradient, found[f"d{name}"], 1e-10)
