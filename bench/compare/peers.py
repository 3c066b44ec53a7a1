"""Peers: the calls of a case by other libraries."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch

from bench.compare.cases import Case
from bench.compare.contender import Bound, Contender, Outputs
from bench.compare.inputs import Inputs

GRADIENTS = ("dq", "dk", "dv", "dbeta", "dg", "dh0")
"""The order in which FLA's and FlashQLA's backward functions return them."""


def _gpu_only(case: Case, device: torch.device) -> str:
    return "" if device.type == "cuda" else "it has no CPU kernels"


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
        "initial_state": x.h0, "output_final_state": True, "cu_seqlens": x.cu_seqlens,
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
        return "it supports only head dim 128 in bf16 and fp16"
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
        return "it supports only head dim 128 in bf16 and fp16"
    if device.type == "cuda" and find_spec("cutlass") is None:
        return "its kernels need nvidia-cutlass-dsl, which is not installed"
    return _gpu_only(case, device)


def _flashinfer(case: Case, x: Inputs) -> Bound:
    if case.op == "decode":
        return _flashinfer_decode(case, x)
    from flashinfer.gdn_prefill import chunk_gated_delta_rule

    H, HV, D = case.H, case.HV, case.D
    # It takes decays rather than log decays, and states [V, K].
    alpha, state = x.g.exp().view(-1, HV), x.h0.transpose(-1, -2).contiguous()
    cu = x.cu_seqlens
    if cu is None:
        cu = torch.tensor([0, case.tokens], dtype=torch.int32, device=x.q.device)
    flat = {"q": x.q.view(-1, H, D), "k": x.k.view(-1, H, D), "v": x.v.view(-1, HV, D)}

    def run() -> Outputs:
        o, ht = chunk_gated_delta_rule(
            **flat, g=alpha, beta=x.beta.view(-1, HV), scale=D**-0.5, initial_state=state,
            output_final_state=True, cu_seqlens=cu, max_seqlen=max(case.lengths),
        )  # fmt: skip
        return {"o": o.view_as(x.v), "ht": ht.transpose(-1, -2)}

    return run


def _flashinfer_decode(case: Case, x: Inputs) -> Bound:
    from flashinfer.gdn_decode import gated_delta_rule_decode

    # It takes a raw gate and a raw beta in 16 bits. g = -softplus(a) needs g < 0, hence the clamp.
    a = torch.log(torch.expm1(-x.g.clamp(max=-1e-6))).to(x.q.dtype)
    b = torch.logit(x.beta.clamp(1e-6, 1 - 1e-6)).to(x.q.dtype)
    zeros = x.g.new_zeros(case.HV)
    state = x.h0.clone()  # updated in place

    def run() -> Outputs:
        o, ht = gated_delta_rule_decode(
            x.q, x.k, x.v, state, zeros, a, zeros, b, use_qk_l2norm=False
        )
        return {"o": o, "ht": ht}

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


def _named(o: torch.Tensor, ht: torch.Tensor) -> Outputs:
    return {"o": o, "ht": ht}


PEERS = {
    peer.name: peer
    for peer in (
        Contender("FLA", "fla", "flash-linear-attention",
                  "pip install flash-linear-attention; on Hopper with Triton before 3.7.1 its "
                  "backward needs TileLang and nvcc: pip install tilelang",
                  _gpu_only, _fla),
        Contender("FlashQLA", "flash_qla", "flash-qla",
                  "pip install flash-qla; it compiles with nvcc and g++",
                  _flash_qla_refuses, _flash_qla),
        Contender("FlashInfer", "flashinfer", "flashinfer-python",
                  "pip install 'flashinfer-python[cu13]'", _flashinfer_refuses, _flashinfer),
        # Not captured: its chunks are thousands of kernels, and its backward uses another stream.
        Contender("transformers", "transformers", "transformers", "pip install transformers",
                  _transformers_refuses, _transformers, ("forward", "backward")),
    )
}  # fmt: skip
