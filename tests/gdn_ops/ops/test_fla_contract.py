"""Random calls with flash-linear-attention's arguments, which must run with gdn_ops instead."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize, softplus

import gdn_ops
from gdn_ops.errors import InvalidInput
from gdn_ops.reference import recurrent_reference
from tests.close import assert_close

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


@st.composite
def calls(draw: st.DrawFn) -> dict[str, Any]:
    """Draw the sizes, dtypes and flags of a call; its tensors come from a seed."""
    flag = st.booleans()
    packed = draw(flag)
    lengths = draw(st.lists(st.integers(0, 19), min_size=1, max_size=4)) if packed else []
    return {
        "seed": draw(st.integers(0, 99)), "B": 1 if packed else draw(st.integers(1, 3)),
        "T": sum(lengths) + draw(st.integers(0, 3)) if packed else draw(st.integers(1, 20)),
        "lengths": lengths, "H": draw(st.integers(1, 2)), "group": draw(st.integers(1, 3)),
        "K": draw(st.sampled_from((8, 16, 20))), "V": draw(st.sampled_from((8, 12, 32))),
        "dtype": draw(st.sampled_from(DTYPES)), "gate_dtype": draw(st.sampled_from(DTYPES)),
        "beta_dtype": draw(st.sampled_from(DTYPES)), "gated": draw(flag), "raw": draw(flag),
        "bias": draw(flag), "beta": draw(flag), "sigmoid": draw(flag), "neg": draw(flag),
        "l2": draw(flag), "state": draw(flag), "final": draw(flag), "v_first": draw(flag),
        "scale": draw(st.sampled_from((None, 1.0, 0.3))), "int32": draw(flag),
        "host": draw(flag), "chunk_size": draw(st.sampled_from((None, 16, 32, 64))),
        "grad": draw(flag),
    }  # fmt: skip


def tensors(c: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of the call."""
    torch.manual_seed(c["seed"])
    B, T, H, HV, K, V = c["B"], c["T"], c["H"], c["H"] * c["group"], c["K"], c["V"]
    N = len(c["lengths"]) or B
    x: dict[str, Any] = {
        "q": torch.randn(B, T, H, K).to(c["dtype"]),
        "k": normalize(torch.randn(B, T, H, K), dim=-1).to(c["dtype"]),
        "v": torch.randn(B, T, HV, V).to(c["dtype"]),
        "g": None, "beta": None, "scale": c["scale"], "output_final_state": c["final"],
        "use_qk_l2norm_in_kernel": c["l2"], "state_v_first": c["v_first"],
    }  # fmt: skip
    if c["gated"]:
        x["g"] = (torch.randn(B, T, HV) if c["raw"] else -torch.rand(B, T, HV)).to(c["gate_dtype"])
        if c["raw"]:
            x |= {"use_gate_in_kernel": True, "A_log": torch.randn(HV)}
            x["dt_bias"] = torch.randn(HV) if c["bias"] else None
    if c["beta"]:
        raw = torch.randn(B, T, HV)
        x["beta"] = (raw if c["sigmoid"] else raw.sigmoid()).to(c["beta_dtype"])
        x["use_beta_sigmoid_in_kernel"] = c["sigmoid"]
        x["allow_neg_eigval"] = c["sigmoid"] and c["neg"]
    if c["state"]:
        state = torch.randn(N, HV, K, V) * 0.3
        x["initial_state"] = state.mT.contiguous() if c["v_first"] else state
    if c["lengths"]:
        ends = torch.tensor([0, *c["lengths"]]).cumsum(0)
        x["cu_seqlens"] = ends.int() if c["int32"] else ends
        x["cu_seqlens_cpu"] = x["cu_seqlens"].clone() if c["host"] else None
    return x


def reference(x: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Compute the call explicitly in fp64."""
    wide = {n: t.double() for n, t in x.items() if isinstance(t, Tensor) and t.is_floating_point()}
    q, k, g, beta = wide["q"], wide["k"], wide.get("g"), wide.get("beta")
    if x["use_qk_l2norm_in_kernel"]:
        q, k = (y / (y.square().sum(-1, keepdim=True) + 1e-6).sqrt() for y in (q, k))
    if x.get("use_gate_in_kernel"):
        g = -wide["A_log"].exp() * softplus(wide["g"] + wide.get("dt_bias", 0))
    if beta is None:
        beta = torch.ones(x["v"].shape[:3], dtype=torch.float64)
    elif x["use_beta_sigmoid_in_kernel"]:
        beta = beta.sigmoid() * (2 if x["allow_neg_eigval"] else 1)
    state = wide.get("initial_state")
    if state is not None and x["state_v_first"]:
        state = state.mT
    return recurrent_reference(
        q, k, wide["v"], g, beta,
        scale=x["scale"], initial_state=state, cu_seqlens=x.get("cu_seqlens"),
    )  # fmt: skip


def check(name: str, ref: Tensor, got: Tensor, dtype: torch.dtype) -> None:
    # With small heads and few tokens rounding errors average out less.
    bar = 1e-5 if dtype == torch.float32 else 1.5e-2
    # A single q . k may nearly cancel: then a small absolute error suffices.
    if ref.numel() and (ref - got.double()).square().mean().sqrt() <= 0.05 * bar:
        return
    assert_close(name, ref, got, bar)


@settings(suppress_health_check=list(HealthCheck))
@given(calls())
def test_any_call_of_the_chunk_function(c: dict[str, Any]) -> None:
    x = tensors(c)
    leaves = [t for t in x.values() if isinstance(t, Tensor) and t.is_floating_point()]
    for leaf in leaves:
        leaf.requires_grad_(c["grad"])
    chunk = {} if c["chunk_size"] is None else {"chunk_size": c["chunk_size"]}
    o, state = gdn_ops.chunk_gated_delta_rule(**x, **chunk)
    plain = {n: t.detach() if isinstance(t, Tensor) else t for n, t in x.items()}
    o_ref, state_ref = reference(plain)
    end = sum(c["lengths"]) if c["lengths"] else c["T"]
    assert o.dtype == c["dtype"] and o.shape == x["v"].shape
    check("o", o_ref[:, :end], o.detach()[:, :end], c["dtype"])
    assert (state is not None) == c["final"]
    if state is not None:
        assert state.dtype == torch.float32
        check("state", state_ref.mT if c["v_first"] else state_ref, state.detach(), c["dtype"])
    if c["grad"]:
        (o.float().sum() + (0 if state is None else state.sum())).backward()
        for leaf in leaves:
            assert leaf.grad is not None and leaf.grad.dtype == leaf.dtype
            assert leaf.grad.isfinite().all()


@settings(suppress_health_check=list(HealthCheck))
@given(calls())
def test_any_call_of_the_recurrent_function(c: dict[str, Any]) -> None:
    x = tensors(c)
    x.pop("cu_seqlens_cpu", None)
    o_ref, _ = reference(x)
    with torch.no_grad():
        o, state = gdn_ops.fused_recurrent_gated_delta_rule(**x)
    end = sum(c["lengths"]) if c["lengths"] else c["T"]
    check("o", o_ref[:, :end], o[:, :end], c["dtype"])
    assert (state is not None) == c["final"]


def test_old_argument_names_still_work() -> None:
    c: dict[str, Any] = {
        "seed": 0, "B": 1, "T": 5, "lengths": [], "H": 1, "group": 1, "K": 8, "V": 8,
        "dtype": torch.float32, "gate_dtype": torch.float32, "beta_dtype": torch.float32,
        "gated": True, "raw": False, "beta": True, "sigmoid": False, "neg": False, "l2": False,
        "state": False, "final": True, "v_first": False, "scale": None, "grad": False,
    }  # fmt: skip
    x = tensors(c)
    x.pop("state_v_first")
    _, wanted = gdn_ops.chunk_gated_delta_rule(**x, state_v_first=True)
    with pytest.warns(DeprecationWarning, match="state_v_first"):
        _, state = gdn_ops.chunk_gated_delta_rule(**x, transpose_state_layout=True)
    assert wanted is not None and state is not None and torch.equal(state, wanted)
    for name in ("chunk_gated_delta_rule", "fused_recurrent_gated_delta_rule"):
        with pytest.raises(InvalidInput, match="state_v_first and transpose_state_layout"):
            getattr(gdn_ops, name)(**x, state_v_first=True, transpose_state_layout=True)


@pytest.mark.parametrize("name", ["fused_recurrent_kda", "chunk_kda", "fused_recurrent_gla",
                                  "fused_recurrent_simple_gla"])  # fmt: skip
def test_old_argument_names_of_the_other_rules(name: str) -> None:
    x = [torch.randn(1, 5, 2, 8) for _ in range(3)]
    gate = -torch.rand(1, 5, 2) if "simple" in name else -torch.rand(1, 5, 2, 8)
    beta = [torch.rand(1, 5, 2)] if "kda" in name else []
    function = getattr(gdn_ops, name)
    _, wanted = function(*x, gate, *beta, output_final_state=True)
    with pytest.warns(DeprecationWarning, match="state_v_first"):
        _, state = function(*x, gate, *beta, output_final_state=True, transpose_state_layout=True)
    assert torch.equal(state, wanted.mT)
    with pytest.raises(InvalidInput, match="state_v_first and transpose_state_layout"):
        function(*x, gate, *beta, state_v_first=True, transpose_state_layout=True)


@pytest.mark.parametrize("name", ["fused_recurrent_gated_delta_rule", "fused_recurrent_kda"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("channels", [False, True])
def test_the_recurrent_functions_take_several_dtypes(
    name: str, dtype: torch.dtype, channels: bool
) -> None:
    torch.manual_seed(0)
    q, k, v = (normalize(torch.randn(2, 6, 2, 16), dim=-1) for _ in range(3))
    g, beta = -torch.rand(2, 6, 2, 16), torch.rand(2, 6, 2)
    function = getattr(gdn_ops, name)
    gates: dict[str, Tensor] = {"g": g, "beta": beta}
    if name == "fused_recurrent_gated_delta_rule":
        gates = {"gk": g, "beta": beta[..., None].expand(2, 6, 2, 16) if channels else beta}
    leaf = v.to(dtype).requires_grad_()
    o, state = function(q, k, leaf, **gates, output_final_state=True)
    o_ref, state_ref = recurrent_reference(
        q.double(), k.double(), v.to(dtype).double(), g.double(), beta.double()
    )
    assert o.dtype == dtype and state.dtype == torch.float32
    check("o", o_ref, o.detach(), dtype)
    check("state", state_ref, state.detach(), torch.float32)
    o.float().sum().backward()
    assert leaf.grad is not None and leaf.grad.dtype == dtype and leaf.grad.abs().sum() > 0
    with pytest.raises(InvalidInput, match=r"v is torch\.int64"):
        function(q, k, v.long(), **gates)
