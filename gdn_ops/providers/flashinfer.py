"""Calls of FlashInfer 0.6.18 to 0.7.4: prefill, and decode for comparisons."""

from __future__ import annotations

from inspect import signature
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from gdn_ops.codegen.problem import Problem
from gdn_ops.launch.call import Call
from gdn_ops.providers.adapter import Prepared
from gdn_ops.providers.arguments import decay_of, offsets_tensor, results, tokens_of

LEAST_DECAY = -1e-6
"""The log decay that stands for 0 in a decode, whose form of the gate has no 0."""


def load() -> Any:
    from flashinfer.gdn_prefill import chunk_gated_delta_rule

    return chunk_gated_delta_rule


def prepared(problem: Problem, call: Call) -> Prepared:
    if problem.op == "decode":
        return _decode(problem, call)
    function, tokens = load(), tokens_of(call)
    B, T, HV, _ = tokens["v"].shape
    # it takes decays and not their logarithms, states [V, K], and every batch as packed sequences
    packing = call.packing
    offsets = tuple(range(0, B * T + 1, T)) if packing is None else packing.offsets
    alpha = decay_of(call, tokens["g"]).exp().view(-1, HV)
    arguments: dict[str, Any] = {
        **{name: tokens[name].flatten(0, 1) for name in ("q", "k", "v")},
        "g": alpha, "beta": tokens["beta"].float().view(-1, HV), "scale": call.scale,
        "initial_state": None if call.h0 is None else call.h0.transpose(-1, -2).contiguous(),
        "output_final_state": problem.final_state,
        "cu_seqlens": offsets_tensor(offsets, call.q.device),
    }  # fmt: skip
    if "max_seqlen" in signature(function).parameters:
        arguments["max_seqlen"] = max(b - a for a, b in pairwise(offsets))

    def run() -> dict[str, Tensor]:
        found = function(**arguments)
        o, ht = found if problem.final_state else (found, None)
        return results(o.view_as(tokens["v"]), None if ht is None else ht.transpose(-1, -2))

    return run


def _decode(problem: Problem, call: Call) -> Prepared:
    """One step; the state is copied now, and every further call goes on from the last one's."""
    from flashinfer.gdn_decode import gated_delta_rule_decode

    tokens, io = tokens_of(call), call.q.dtype
    # it takes raw gates and logits in 16 bits: -g = softplus(a), beta = sigmoid(b)
    decay = -decay_of(call, tokens["g"]).clamp(max=LEAST_DECAY)
    a = (decay + torch.log(-torch.expm1(-decay))).to(io)
    b = torch.logit(tokens["beta"].float().clamp(1e-6, 1 - 1e-6)).to(io)
    B, _, HV, V = tokens["v"].shape
    zeros = decay.new_zeros(HV)
    state = decay.new_zeros(B, HV, problem.K, V) if call.h0 is None else call.h0.clone()
    qkv = [tokens[name] for name in ("q", "k", "v")]

    def run() -> dict[str, Tensor]:
        o, ht = gated_delta_rule_decode(
            *qkv, state, zeros, a, zeros, b, scale=call.scale, use_qk_l2norm=False
        )
        return results(o, ht if problem.final_state else None)

    return run
