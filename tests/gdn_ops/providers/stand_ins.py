"""Stand-ins of libraries that cannot run here: published signatures with the reference inside.

The signatures are those of the releases named below. Everything a library would refuse or misread
in a call (dtypes, layouts, tensors that are not contiguous) is asserted.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from gdn_ops.reference import log_decay, recurrent_reference

VERSIONS = {
    "fla-core": "0.6.0", "flash-qla": "0.1.3", "flashinfer-python": "0.7.4",
    "transformers": "5.23.0",
}  # fmt: skip


def _rule(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, scale: float | None,
    h0: Tensor | None, cu: Tensor | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    assert all(x.is_contiguous() for x in (q, k, v, g, beta))
    assert cu is None or (int(cu[-1]) == q.shape[1] and q.shape[0] == 1)
    o, ht = recurrent_reference(
        *(x.double() for x in (q, k, v, g, beta)), scale=scale, cu_seqlens=cu,
        initial_state=None if h0 is None else h0.double(),
    )  # fmt: skip
    return o, ht


def _gradients(
    leaves: dict[str, Tensor | None], scale: float | None, cu: Tensor | None, do: Tensor,
    dht: Tensor | None, gate: dict[str, Any],
) -> dict[str, Tensor]:  # fmt: skip
    """The gradients of the rule by the name of its inputs."""
    with torch.enable_grad():
        x = {n: t.double().detach().requires_grad_() for n, t in leaves.items() if t is not None}
        g = x["g"]
        if gate:
            bias = x.get("dt_bias")
            g = log_decay(g, x["A_log"], bias)
        o, ht = _rule(x["q"], x["k"], x["v"], g, x["beta"], scale, x.get("h0"), cu)
        outputs = [(o, do)] + ([] if dht is None else [(ht, dht)])
        taken = torch.autograd.grad(
            [y for y, _ in outputs], list(x.values()), [d.double() for _, d in outputs],
            allow_unused=True,
        )  # fmt: skip
    return dict(zip(x, taken, strict=True))


# flash-linear-attention 0.6.0


def fla_fwd(
    q, k, v, g, beta, scale, initial_state, output_final_state, state_v_first=False,
    cu_seqlens=None, cp_context=None, chunk_indices=None, use_gate_in_kernel=False, A_log=None,
    dt_bias=None, chunk_size=64,
):  # fmt: skip
    assert isinstance(scale, float) and not state_v_first
    raw = g if use_gate_in_kernel else None
    g = log_decay(g.double(), A_log.double(), dt_bias) if use_gate_in_kernel else g
    o, ht = _rule(q, k, v, g, beta, scale, initial_state, cu_seqlens)
    A = (q, g)  # what only its backward reads
    return g, o.to(q.dtype), A, ht.float() if output_final_state else None, initial_state, raw


def fla_bwd(
    q, k, v, g, beta, A, scale, initial_state, do, dht, state_v_first=False, cu_seqlens=None,
    cp_context=None, chunk_indices=None, use_gate_in_kernel=False, g_input=None, A_log=None,
    dt_bias=None, chunk_size=64,
):  # fmt: skip
    assert A[0] is q and A[1] is g and do.is_contiguous()
    gate = {"A_log": A_log, "dt_bias": dt_bias} if use_gate_in_kernel else {}
    leaves = {"q": q, "k": k, "v": v, "g": g_input if gate else g, "beta": beta,
              "h0": initial_state, **gate}  # fmt: skip
    d = _gradients(leaves, scale, cu_seqlens, do, dht, gate)
    names = ("q", "k", "v", "beta", "g", "h0", "A_log", "dt_bias")
    return tuple(d.get(name) for name in names)


def fla_recurrent(
    q, k, v, g=None, gk=None, gv=None, beta=None, scale=None, initial_state=None,
    output_final_state=False, use_qk_l2norm_in_kernel=False, use_gate_in_kernel=False, A_log=None,
    dt_bias=None, use_beta_sigmoid_in_kernel=False, allow_neg_eigval=False, state_v_first=False,
    cu_seqlens=None, **kwargs,
):  # fmt: skip
    assert not kwargs
    g = log_decay(g.double(), A_log.double(), dt_bias) if use_gate_in_kernel else g
    o, ht = _rule(q, k, v, g, beta, scale, initial_state, cu_seqlens)
    return o.to(q.dtype), ht.float() if output_final_state else None


# FlashQLA 0.1.3


def qla_fwd(
    q, k, v, g, beta, scale=None, initial_state=None, cu_seqlens=None, output_final_state=True,
    output_h=False, auto_cp=True, state_v_first=False, enable_fwd_cp_cache=False, cp_context=None,
    is_train=None,
):  # fmt: skip
    o, ht = _rule(q, k, v, g, beta, scale, initial_state, cu_seqlens)
    cache = "kept" if enable_fwd_cp_cache else None
    return g, q, o.to(q.dtype), None, ht.float() if output_final_state else None, cache


def qla_bwd(
    q, k, v, g, beta, A, do, dht=None, scale=None, initial_state=None, cu_seqlens=None,
    state_v_first=False, auto_cp=True, cp_cache=None, cp_context=None,
):  # fmt: skip
    assert A is q and cp_cache == "kept" and g.dtype == torch.float32 and do.is_contiguous()
    leaves = {"q": q, "k": k, "v": v, "g": g, "beta": beta, "h0": initial_state}
    d = _gradients(leaves, scale, cu_seqlens, do, dht, {})
    return tuple(d.get(name) for name in ("q", "k", "v", "beta", "g", "h0"))


# FlashInfer 0.7.4


def infer_prefill(
    q, k, v, g=None, beta=None, scale=None, initial_state=None, output_final_state=False,
    cu_seqlens=None, use_qk_l2norm_in_kernel=False, output=None, output_state=None,
    state_checkpoints=None, checkpoint_cu_starts=None, checkpoint_every_n_tokens=0, use_cp="auto",
    state_indices=None, _cp_chunk_len=None, backend="auto", max_seqlen=None, *,
    gate_domain="linear", use_gate_in_kernel=False, A_log=None, dt_bias=None, beta_is_logit=False,
    cu_seqlens_cpu=None, output_state_indices=None, checkpoint_state_indices=None,
    prefix_lens=None,
):  # fmt: skip
    assert q.dim() == v.dim() == 3 and g.dtype == beta.dtype == torch.float32
    assert max_seqlen == int((cu_seqlens[1:] - cu_seqlens[:-1]).max())
    assert initial_state is None or initial_state.is_contiguous()
    h0 = None if initial_state is None else initial_state.mT
    flat = (x[None] for x in (q, k, v, g.double().log(), beta))
    o, ht = _rule(*flat, scale, h0, cu_seqlens)
    o = o[0].to(q.dtype)
    return (o, ht.float().mT.contiguous()) if output_final_state else o


def infer_decode(
    q, k, v, state, A_log, a, dt_bias, b, scale=None, output=None, use_qk_l2norm=True,
    backend="auto",
):  # fmt: skip
    assert a.dtype == b.dtype == q.dtype and A_log.dtype == dt_bias.dtype == torch.float32
    assert state.dtype == torch.float32 and not use_qk_l2norm
    g = log_decay(a.double(), A_log.double(), dt_bias.double())
    o, ht = _rule(q, k, v, g, b.double().sigmoid(), scale, state, None)
    state.copy_(ht)
    return o.to(q.dtype), state


def install(monkeypatch: pytest.MonkeyPatch, **versions: str) -> None:
    """Make the libraries importable; ``versions`` replaces those of ``VERSIONS``."""
    known = VERSIONS | {name.replace("_", "-"): version for name, version in versions.items()}
    monkeypatch.setattr("gdn_ops.providers.installed.installed_version", known.get)
    chunk = _module("fla.ops.gated_delta_rule.chunk", chunk_gated_delta_rule_fwd=fla_fwd,
                    chunk_gated_delta_rule_bwd=fla_bwd)  # fmt: skip
    for module in (
        _module("fla"), _module("fla.ops"), chunk,
        _module("fla.ops.gated_delta_rule", chunk=chunk,
                fused_recurrent_gated_delta_rule=fla_recurrent),
        _module("flash_qla", chunk_gated_delta_rule_fwd=qla_fwd,
                chunk_gated_delta_rule_bwd=qla_bwd),
        _module("flashinfer"),
        _module("flashinfer.gdn_prefill", chunk_gated_delta_rule=infer_prefill),
        _module("flashinfer.gdn_decode", gated_delta_rule_decode=infer_decode),
    ):  # fmt: skip
        monkeypatch.setitem(sys.modules, module.__name__, module)


def _module(name: str, **content: Any) -> ModuleType:
    module = ModuleType(name)
    module.__path__ = []
    for key, value in content.items():
        setattr(module, key, value)
    return module
