"""Calls of transformers' rule in plain PyTorch, as Qwen3-Next and Qwen3.5 have it."""

from __future__ import annotations

from collections.abc import Callable
from inspect import unwrap
from typing import Any

import torch
from torch import Tensor

from gdn_ops.codegen.problem import Problem
from gdn_ops.launch.call import DIFFERENTIABLE, Call
from gdn_ops.providers.adapter import Prepared
from gdn_ops.providers.arguments import decay_of, results


def load() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The chunkwise form and the token recurrence, without the wrapper that loads kernels."""
    from transformers.models.qwen3_next import modeling_qwen3_next as qwen

    return (
        unwrap(qwen.torch_chunk_gated_delta_rule), unwrap(qwen.torch_recurrent_gated_delta_rule),
    )  # fmt: skip


def prepared(problem: Problem, call: Call) -> Prepared:
    chunk, recurrent = load()
    function = recurrent if problem.op == "decode" else chunk
    leaves = {name: x for name in DIFFERENTIABLE if (x := getattr(call, name)) is not None}
    if problem.op != "backward":

        def run() -> dict[str, Tensor]:
            with torch.no_grad():
                return _outputs(function, problem, call, leaves)

        return run
    with torch.enable_grad():
        leaves = {name: x.detach().clone().requires_grad_() for name, x in leaves.items()}
        found = _outputs(function, problem, call, leaves)
    given = {"o": call.do, "ht": call.dht}
    outputs = {name: x for name, x in found.items() if given[name] is not None}
    cotangents = [given[name].to(x.dtype) for name, x in outputs.items()]  # type: ignore[union-attr]

    def gradients() -> dict[str, Tensor]:
        taken = torch.autograd.grad(
            list(outputs.values()), list(leaves.values()), cotangents, retain_graph=True
        )
        return {f"d{name}": x for name, x in zip(leaves, taken, strict=True)}

    return gradients


def _outputs(
    function: Callable[..., Any], problem: Problem, call: Call, x: dict[str, Tensor]
) -> dict[str, Tensor]:
    gate = Call(
        x["q"], x["k"], x["v"], x["g"], x["beta"], call.scale, x.get("A_log"), x.get("dt_bias")
    )
    # it scales by K^-0.5, and its older releases want as many query heads as value heads
    usual = problem.K**-0.5
    q = x["q"] if call.scale == usual else x["q"] * (call.scale / usual)
    q, k = (y.repeat_interleave(problem.group, dim=2) for y in (q, x["k"]))
    o, ht = function(
        q, k, x["v"], decay_of(gate, x["g"]), x["beta"], initial_state=x.get("h0"),
        output_final_state=problem.final_state,
    )  # fmt: skip
    return results(o, ht)
