"""The reference of every speed-up: the rule in plain PyTorch, in float32."""

from __future__ import annotations

import torch
from torch import Tensor

from gdn_ops.codegen.problem import Problem
from gdn_ops.inputs.pools import reference_step
from gdn_ops.launch.call import Call
from gdn_ops.launch.pool_call import PoolCall
from gdn_ops.reference import chunkwise_reference, log_decay, recurrent_reference
from gdn_ops.tuner.measure.timers import Run
from gdn_ops.verify.expected import gradients_of, inputs_of


def reference_run(problem: Problem, calls: list[Call]) -> Run:
    """A function that makes one call of the reference on an argument set.

    The reference is the chunkwise form; for decode and pool problems the token recurrence. For a
    backward problem it includes the forward, whose intermediates autograd needs.
    """
    if problem.op == "pool":
        return lambda i: _step(problem, calls[i])
    if problem.op != "backward":
        return lambda i: _outputs(problem, calls[i])

    def both(i: int) -> None:
        call = calls[i]
        inputs = inputs_of(call)
        with torch.enable_grad():
            for x in inputs.values():
                x.requires_grad_()
            o, ht = _outputs(problem, call)
            outputs = {"o": o} if ht is None else {"o": o, "ht": ht}
            given = {"o": call.do, "ht": call.dht}
            cotangents = {n: x.to(outputs[n].dtype) for n, x in given.items() if x is not None}
            gradients_of(outputs, inputs, cotangents)
        for x in inputs.values():
            x.requires_grad_(False)

    return both


def _step(problem: Problem, call: Call) -> None:
    assert isinstance(call, PoolCall)
    reference_step(problem, call)


def _outputs(problem: Problem, call: Call) -> tuple[Tensor, Tensor | None]:
    g = call.g
    if g is not None and call.A_log is not None:
        g = log_decay(g, call.A_log, call.dt_bias)
    form = recurrent_reference if problem.op == "decode" else chunkwise_reference
    o, ht = form(
        call.q, call.k, call.v, g, call.beta,
        delta=problem.rule.delta,
        scale=call.scale,
        initial_state=call.h0,
        cu_seqlens=None if call.packing is None else call.packing.cu_seqlens,
        dtype=torch.float32,
    )  # fmt: skip
    return o, ht if problem.final_state else None
