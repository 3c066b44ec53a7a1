"""Peers: other libraries' calls of a case, by their own functions."""

from __future__ import annotations

from typing import Any

import torch

from bench.compare.cases import Case
from bench.compare.contender import Bound, Contender, Outputs
from bench.compare.inputs import Inputs

GRADIENTS = ("dq", "dk", "dv", "dbeta", "dg", "dh0")
"""The order in which FLA's and FlashQLA's backward functions return them."""


def _gpu_only(case: Case, device: torch.device) -> str:
    return "" if device.type == "cuda" else "it has no kernels for a CPU"


def _fla(case: Case, x: Inputs) -> Bound:
    from fla.ops.gated_delta_rule import chunk, fused_recurrent_gated_delta_rule

    scale = case.D**-0.5
    if case.op == "decode":
        return lambda: _named(
            *fused_recurrent_gated_delta_rule(
                x.q, x.k, x.v, g=x.g, beta=x.beta, initial_state=x.h0, output_final_state=True
            )
        )
    call: dict[str, Any] = {
        "q": x.q, "k": x.k, "v": x.v, "g": x.g, "beta": x.beta, "scale": scale,
        "initial_state": x.h0, "output_final_state": True, "cu_seqlens": _long(x.cu_seqlens),
    }  # fmt: skip
    if case.op == "forward":
        forward = chunk.chunk_gated_delta_rule_fwd

        def run() -> Outputs:
            _, o, _, ht, *_ = forward(**call)
            return {"o": o, "ht": ht}

        return run
    g, _, A, *_ = chunk.chunk_gated_delta_rule_fwd(**call)
    del call["output_final_state"]
    call.update(g=g, A=A, do=x.do, dht=x.dht)
    return lambda: dict(zip(GRADIENTS, chunk.chunk_gated_delta_rule_bwd(**call)[:6], strict=True))


def _flash_qla_refuses(case: Case, device: torch.device) -> str:
    if case.op == "decode":
        return "it has no decode"
    if case.D != 128 or case.dtype == "fp32":
        return "it has head dim 128 in 16 bits alone"
    return _gpu_only(case, device)


def _flash_qla(case: Case, x: Inputs) -> Bound:
    import flash_qla

    call: dict[str, Any] = {
        "q": x.q, "k": x.k, "v": x.v, "g": x.g, "beta": x.beta, "scale": case.D**-0.5,
        "initial_state": x.h0, "cu_seqlens": x.cu_seqlens,
    }  # fmt: skip
    if case.op == "forward":

        def run() -> Outputs:
            _, _, o, _, ht, _ = flash_qla.chunk_gated_delta_rule_fwd(
                **call, output_final_state=True, output_h=False
            )
            return {"o": o, "ht": ht}

        return run
    found = flash_qla.chunk_gated_delta_rule_fwd(
        **call, output_final_state=True, enable_fwd_cp_cache=True
    )
    call.update(g=found[0], A=found[1], cp_cache=found[5], do=x.do, dht=x.dht)
    return lambda: dict(zip(GRADIENTS, flash_qla.chunk_gated_delta_rule_bwd(**call), strict=True))


def _flashinfer_refuses(case: Case, device: torch.device) -> str:
    if case.op == "backward":
        return "it has no backward"
    if case.D != 128 or case.dtype == "fp32":
        return "it has head dim 128 in 16 bits alone"
    return _gpu_only(case, device)


def _flashinfer(case: Case, x: Inputs) -> Bound:
    H, HV, D = case.H, case.HV, case.D
    # it takes the decay itself, and states [V, K]
    alpha, state = x.g.exp().view(-1, HV), x.h0.transpose(-1, -2).contiguous()
    if case.op == "decode":
        from flashinfer.gdn_decode import gated_delta_rule_decode

        raw = torch.logit(x.beta.clamp(1e-6, 1 - 1e-6))
        # its gate comes raw: this one's decay is exp(g), but for g above the softplus' reach
        a = torch.log(torch.expm1(-x.g.clamp(max=-1e-6)))
        zeros = x.g.new_zeros(HV)

        def step() -> Outputs:
            o, ht = gated_delta_rule_decode(
                x.q, x.k, x.v, x.h0, zeros, a, zeros, raw, use_qk_l2norm=False
            )
            return {"o": o, "ht": ht}

        return step
    from flashinfer.gdn_prefill import chunk_gated_delta_rule

    cu = x.cu_seqlens
    if cu is None:
        cu = torch.tensor([0, case.tokens], dtype=torch.int32, device=x.q.device)
    flat = {"q": x.q.view(-1, H, D), "k": x.k.view(-1, H, D), "v": x.v.view(-1, HV, D)}

    def run() -> Outputs:
        o, ht = chunk_gated_delta_rule(
            **flat, g=alpha, beta=x.beta.view(-1, HV), scale=D**-0.5, initial_state=state,
            output_final_state=True, cu_seqlens=cu,
        )  # fmt: skip
        return {"o": o.view_as(x.v), "ht": ht.transpose(-1, -2)}

    return run


def _transformers_refuses(case: Case, device: torch.device) -> str:
    if case.packed:
        return "its fallback ignores packed sequences"
    if case.tokens > 2048 and device.type == "cpu":
        return "it takes minutes"
    return ""


def _transformers(case: Case, x: Inputs) -> Bound:
    from transformers.models.qwen3_next import modeling_qwen3_next as qwen

    from bench.cpu import plain

    HV = case.HV
    form = "recurrent" if case.op == "decode" else "chunk"
    function = plain(getattr(qwen, f"torch_{form}_gated_delta_rule"))
    leaves = {"q": x.q, "k": x.k, "v": x.v, "g": x.g, "beta": x.beta, "h0": x.h0}

    def forward() -> Outputs:
        q, k = (leaves[n].repeat_interleave(HV // case.H, dim=2) for n in ("q", "k"))
        o, ht = function(
            q, k, leaves["v"], leaves["g"], leaves["beta"], initial_state=leaves["h0"],
            output_final_state=True,
        )  # fmt: skip
        return {"o": o, "ht": ht}

    if case.op != "backward":
        return forward
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in leaves.items()}
    with torch.enable_grad():
        found = forward()
    outputs = [found["o"], found["ht"]]
    cotangents = [x.do, x.dht.to(found["ht"].dtype)]

    def gradients() -> Outputs:
        taken = torch.autograd.grad(outputs, list(leaves.values()), cotangents, retain_graph=True)
        return {f"d{name}": grad for name, grad in zip(leaves, taken, strict=True)}

    return gradients


def _any(case: Case, device: torch.device) -> str:
    return ""


def _long(x: torch.Tensor | None) -> torch.Tensor | None:
    return None if x is None else x.long()


def _named(o: torch.Tensor, ht: torch.Tensor) -> Outputs:
    return {"o": o, "ht": ht}


PEERS = {
    peer.name: peer
    for peer in (
        Contender("FLA", "fla", "flash-linear-attention",
                  "pip install --no-deps flash-linear-attention fla-core einops",
                  _gpu_only, _fla),
        Contender("FlashQLA", "flash_qla", "flash-qla",
                  "pip install --no-deps flash-qla tilelang apache-tvm-ffi",
                  _flash_qla_refuses, _flash_qla),
        Contender("FlashInfer", "flashinfer", "flashinfer-python",
                  "pip install flashinfer-python", _flashinfer_refuses, _flashinfer),
        Contender("transformers", "transformers", "transformers", "pip install transformers",
                  _transformers_refuses, _transformers),
    )
}  # fmt: skip
