"""Calls of flash-linear-attention 0.5.2 and 0.6.

Its parts are called instead of its public function: that one may pass the call on to a backend,
which may be gdn-ops itself.
"""

from __future__ import annotations

from typing import Any

from gdn_ops.codegen.problem import Problem
from gdn_ops.launch.call import Call
from gdn_ops.providers.adapter import Prepared
from gdn_ops.providers.arguments import cu_seqlens_of, gradients, results, tokens_of

GRADIENTS = ("dq", "dk", "dv", "dbeta", "dg", "dh0", "dA_log", "ddt_bias")
"""The order in which its backward returns them."""


def load() -> tuple[Any, Any]:
    """The module of the chunkwise form, and the function of the token recurrence."""
    from fla.ops.gated_delta_rule import chunk, fused_recurrent_gated_delta_rule

    return chunk, fused_recurrent_gated_delta_rule


def prepared(problem: Problem, call: Call) -> Prepared:
    chunk, recurrent = load()
    arguments: dict[str, Any] = {
        **tokens_of(call), "scale": call.scale, "initial_state": call.h0,
        "cu_seqlens": cu_seqlens_of(call),
    }  # fmt: skip
    do = arguments.pop("do", None)
    if call.A_log is not None:
        arguments |= {
            "use_gate_in_kernel": True, "A_log": call.A_log, "dt_bias": call.dt_bias,
        }  # fmt: skip
    if problem.op == "decode":
        return lambda: results(*recurrent(**arguments, output_final_state=problem.final_state))
    forward = chunk.chunk_gated_delta_rule_fwd
    if problem.op != "backward":

        def run() -> dict[str, Any]:
            _, o, _, ht, *_ = forward(**arguments, output_final_state=problem.final_state)
            return results(o, ht)

        return run
    g, _, A, *_ = forward(**arguments, output_final_state=False)
    if call.A_log is not None:
        arguments["g_input"] = arguments["g"]
    arguments |= {"g": g, "A": A, "do": do, "dht": call.dht}
    return lambda: gradients(GRADIENTS, chunk.chunk_gated_delta_rule_bwd(**arguments))
