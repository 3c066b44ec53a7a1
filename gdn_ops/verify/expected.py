"""The right outputs of a gate case, in float64; computed once per process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise

import torch
from torch import Tensor

from gdn_ops.inputs.pools import expected_outputs
from gdn_ops.inputs.rule_inputs import random_call
from gdn_ops.launch.call import DIFFERENTIABLE, TOKEN_INPUTS, Call
from gdn_ops.launch.packing import Packing
from gdn_ops.launch.pool_call import PoolCall
from gdn_ops.reference import chunkwise_reference, log_decay, recurrent_reference
from gdn_ops.verify.gate_cases import Case

KEPT_BYTES = 256 << 20
"""If the states of all tokens take more, gradients come from the chunkwise form, for which autograd
keeps one state per chunk and not per token. In float64 both forms agree."""
TOKEN_OUTPUTS = ("o", *(f"d{name}" for name in TOKEN_INPUTS))
"""Outputs with a value for each token."""


@dataclass(frozen=True)
class Expected:
    """A case's inputs and its right outputs.

    Args:
        call: the inputs.
        outputs: in float64, as ``within_sequences`` gives them. Forward and decode: o [B, T, HV, V]
            and, if the problem has it, ht [N, HV, K, V]. Backward: the gradients. Pool: what
            ``pools.outputs_of`` gives.
    """

    call: Call
    outputs: dict[str, Tensor]


@lru_cache(maxsize=64)
def expected(case: Case, device: str) -> Expected:
    """Make the inputs of a case and run the token recurrence on them in float64."""
    call = random_call(case.problem, device=device, layout=case.layout, recipe=case.recipe)
    if isinstance(call, PoolCall):
        with torch.no_grad(), _one_thread():
            return Expected(call, within_sequences(expected_outputs(case.problem, call), call))
    inputs = {name: x.double() for name, x in inputs_of(call).items()}
    backward = case.problem.op == "backward"
    with torch.set_grad_enabled(backward), _one_thread():
        for x in inputs.values():
            x.requires_grad_(backward)
        o, ht = _recurrence(inputs, call.scale, call.packing)
        outputs = {"o": o, "ht": ht} if case.problem.final_state else {"o": o}
        if backward:
            assert call.do is not None
            cotangents = {"o": call.do[:, : o.shape[1]].double()}
            if call.dht is not None:
                cotangents["ht"] = call.dht.double()
            outputs = gradients_of(outputs, inputs, cotangents)
    return Expected(call, within_sequences(outputs, call))


def inputs_of(call: Call) -> dict[str, Tensor]:
    """The differentiable inputs that a call has, by name."""
    return {name: x for name in DIFFERENTIABLE if (x := getattr(call, name)) is not None}


def within_sequences(outputs: Mapping[str, Tensor], call: Call) -> dict[str, Tensor]:
    """The outputs without tokens behind the last packed sequence, whose values are undefined."""
    end = call.q.shape[1] if call.packing is None else call.packing.offsets[-1]
    return {
        name: (x[:, :end] if name in TOKEN_OUTPUTS else x).detach().contiguous()
        for name, x in outputs.items()
    }


def gradients_of(
    outputs: Mapping[str, Tensor], inputs: Mapping[str, Tensor], cotangents: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Gradients of ``outputs`` with respect to ``inputs``, named ``dq``, ``dk`` and so on.

    Args:
        cotangents: the gradient of each output.
    """
    gradients = torch.autograd.grad(
        list(outputs.values()), list(inputs.values()), [cotangents[name] for name in outputs]
    )
    return {f"d{name}": x for name, x in zip(inputs, gradients, strict=True)}


def _recurrence(
    inputs: Mapping[str, Tensor], scale: float, packing: Packing | None
) -> tuple[Tensor, Tensor]:
    """o and ht; packed sequences are computed one by one."""
    q, k, v = (inputs[name] for name in ("q", "k", "v"))
    g, beta, h0 = (inputs.get(name) for name in ("g", "beta", "h0"))
    states = 8 * q.shape[0] * q.shape[1] * v.shape[2] * q.shape[3] * v.shape[3]
    long = torch.is_grad_enabled() and states > KEPT_BYTES
    form = chunkwise_reference if long else recurrent_reference
    rule = partial(form, delta=beta is not None)
    if g is not None and "A_log" in inputs:
        g = log_decay(g, inputs["A_log"], inputs.get("dt_bias"))
    if packing is None:
        return rule(q, k, v, g, beta, scale=scale, initial_state=h0)
    results = []
    for n, (start, end) in enumerate(pairwise(packing.offsets)):
        here, h0_n = slice(start, end), None if h0 is None else h0[n : n + 1]
        g_n, beta_n = (None if x is None else x[:, here] for x in (g, beta))
        qkv = q[:, here], k[:, here], v[:, here]
        results.append(rule(*qkv, g_n, beta_n, scale=scale, initial_state=h0_n))
    return torch.cat([o for o, _ in results], dim=1), torch.cat([ht for _, ht in results])


@contextmanager
def _one_thread() -> Iterator[None]:
    """Use one thread: the recurrence consists of tiny products, which more threads slow down."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
