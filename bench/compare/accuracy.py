"""The errors of a contender's outputs against the rule in fp64."""

from __future__ import annotations

import torch

from bench.compare.cases import Case
from bench.compare.contender import Outputs
from bench.compare.inputs import Inputs
from gdn_ops.reference import chunkwise_reference, recurrent_reference
from gdn_ops.verify.accuracy import rms_error

HEADS = 1
"""Key heads to check, with their value heads: the last ones, at the highest addresses."""


def reference_of(case: Case, x: Inputs) -> Outputs:
    """Return the outputs or gradients of the last heads in fp64."""
    wide = {
        name: getattr(x.heads(HEADS), name).double()
        for name in ("q", "k", "v", "g", "beta", "h0", "do", "dht")
    }
    names = ("q", "k", "v", "g", "beta")
    inputs = {name: wide[name] for name in (*names, "h0")}
    if case.op == "backward":
        for tensor in inputs.values():
            tensor.requires_grad_()
    form = recurrent_reference if case.op == "decode" else chunkwise_reference
    with torch.set_grad_enabled(case.op == "backward"):
        o, ht = form(
            *(inputs[name] for name in names), initial_state=inputs["h0"], cu_seqlens=x.cu_seqlens
        )
        if case.op != "backward":
            return {"o": o, "ht": ht}
        taken = torch.autograd.grad([o, ht], list(inputs.values()), [wide["do"], wide["dht"]])
    return {f"d{name}": grad for name, grad in zip(inputs, taken, strict=True)}


def errors(outputs: Outputs, reference: Outputs) -> dict[str, float]:
    """Return ``rms_error`` of each output, for the heads in the reference."""
    found = {}
    for name, right in reference.items():
        heads = 1 if name in ("ht", "dh0") else 2
        count = right.shape[heads]
        found[name] = rms_error(outputs[name].narrow(heads, -count, count), right)
    return found
