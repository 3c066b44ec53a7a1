"""Calls of FlashQLA 0.1.2 and 0.1.3."""

from __future__ import annotations

from typing import Any

from gdn_ops.codegen.problem import Problem
from gdn_ops.launch.call import Call
from gdn_ops.providers.adapter import Prepared
from gdn_ops.providers.arguments import (
    cu_seqlens_of,
    decay_gradients,
    decay_of,
    gradients,
    results,
    tokens_of,
)

GRADIENTS = ("dq", "dk", "dv", "dbeta", "dg", "dh0")
"""The order in which its backward returns them."""


def load() -> Any:
    import flash_qla

    return flash_qla


def prepared(problem: Problem, call: Call) -> Prepared:
    library, tokens = load(), tokens_of(call)
    raw, do = tokens["g"], tokens.pop("do", None)
    arguments: dict[str, Any] = {
        **tokens, "g": decay_of(call, raw), "scale": call.scale, "initial_state": call.h0,
        "cu_seqlens": cu_seqlens_of(call),
    }  # fmt: skip
    forward = library.chunk_gated_delta_rule_fwd
    if problem.op != "backward":

        def run() -> dict[str, Any]:
            _, _, o, _, ht, _ = forward(**arguments, output_final_state=problem.final_state)
            return results(o, ht if problem.final_state else None)

        return run
    sums, A, _, _, _, kept = forward(
        **arguments, output_final_state=False, enable_fwd_cp_cache=True
    )
    arguments |= {"g": sums, "A": A, "cp_cache": kept, "do": do, "dht": call.dht}

    def backward() -> dict[str, Any]:
        found = gradients(GRADIENTS, library.chunk_gated_delta_rule_bwd(**arguments))
        return {**found, **decay_gradients(call, raw, found["dg"])}

    return backward
