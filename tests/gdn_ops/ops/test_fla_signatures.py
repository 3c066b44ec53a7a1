"""Every op has the parameters of flash-linear-attention's function, in the same order."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
from inspect import Parameter
from typing import Any

import pytest
import torch

import gdn_ops
from gdn_ops import ops
from gdn_ops.errors import InvalidInput, UnsupportedProblem
from tests.close import assert_close
from tests.gdn_ops.ops.calls import call, expected
from tests.gdn_ops.ops.test_lattice import tensors

VERSION = "0.6.0"
REQUIRED = Parameter.empty
POSITIONAL, KEYWORDS = Parameter.POSITIONAL_OR_KEYWORD, Parameter.VAR_KEYWORD

Signature = list[tuple[str, Any, Any]]
SIGNATURES: dict[str, Signature] = {
    "chunk_delta_rule": [
        ("q", POSITIONAL, REQUIRED),
        ("k", POSITIONAL, REQUIRED),
        ("v", POSITIONAL, REQUIRED),
        ("beta", POSITIONAL, REQUIRED),
        ("scale", POSITIONAL, None),
        ("initial_state", POSITIONAL, None),
        ("output_final_state", POSITIONAL, False),
        ("use_qk_l2norm_in_kernel", POSITIONAL, False),
        ("cu_seqlens", POSITIONAL, None),
        ("cu_seqlens_cpu", POSITIONAL, None),
        ("kwargs", KEYWORDS, REQUIRED),
    ],
    "chunk_gated_delta_product": [
        ("q", POSITIONAL, REQUIRED),
        ("k", POSITIONAL, REQUIRED),
        ("v", POSITIONAL, REQUIRED),
        ("g", POSITIONAL, REQUIRED),
        ("beta", POSITIONAL, REQUIRED),
        ("num_householder", POSITIONAL, REQUIRED),
        ("scale", POSITIONAL, None),
        ("initial_state", POSITIONAL, None),
        ("output_final_state", POSITIONAL, False),
        ("use_qk_l2norm_in_kernel", POSITIONAL, False),
        ("cu_seqlens", POSITIONAL, None),
        ("cu_seqlens_cpu", POSITIONAL, None),
        ("cp_context", POSITIONAL, None),
    ],
    "chunk_gated_delta_rule": [
        ("q", POSITIONAL, REQUIRED),
        ("k", POSITIONAL, REQUIRED),
        ("v", POSITIONAL, REQUIRED),
        ("g", POSITIONAL, REQUIRED),
        ("beta", POSITIONAL, REQUIRED),
        ("scale", POSITIONAL, None),
        ("initial_state", POSITIONAL, None),
        ("output_final_state", POSITIONAL, False),
        ("use_qk_l2norm_in_kernel", POSITIONAL, False),
        ("use_beta_sigmoid_in_kernel", POSITIONAL, False),
        ("allow_neg_eigval", POSITIONAL, False),
        ("state_v_first", POSITIONAL, False),
        ("cu_seqlens", POSITIONAL, None),
        ("cu_seqlens_cpu", POSITIONAL, None),
        ("chunk_indices", POSITIONAL, None),
        ("cp_context", POSITIONAL, None),
        ("kwargs", KEYWORDS, REQUIRED),
    ],
    "chunk_gla": [
        ("q", POSITIONAL, REQUIRED),
        ("k", POSITIONAL, REQUIRED),
        ("v", POSITIONAL, REQUIRED),
        ("g", POSITIONAL, REQUIRED),
        ("scale", POSITIONAL, None),
        ("initial_state", POSITIONAL, None),
        ("output_final_state", POSITIONAL, False),
        ("state_v_first", POSITIONAL, False),
        ("cu_seqlens", POSITIONAL, None),
        ("cu_seqlens_cpu", POSITIONAL, None),
    ],
    "chunk_kda": [
        ("q", POSITIONAL, REQUIRED),
        ("k", POSITIONAL, REQUIRED),
        ("v", POSITIONAL, REQUIRED),
        ("g", POSITIONAL, REQUIRED),
        ("beta", POSITIONAL, REQUIRED),
        ("scale", POSITIONAL, None),
        ("initial_state", POSITIONAL, None),
        ("output_final_state", POSITIONAL, False),
        ("use_qk_l2norm_in_kernel", POSITIONAL, False),
        ("use_gate_in_kernel", POSITIONAL, False),
        ("use_beta_sigmoid_in_kernel", POSITIONAL, False),
        ("allow_neg_eigval", POSITIONAL, False),
        ("safe_gate", POSITIONAL, False),
        ("lower_bound", POSITIONAL, None),
        ("disable_recompute", POSITIONAL, False),
        ("return_intermediate_states", POSITIONAL, False),
        ("state_v_first", POSITIONAL, False),
        ("cu_seqlens", POSITIONAL, None),
        ("cu_seqlens_cpu", POSITIONAL, None),
        ("cp_context", POSITIONAL, None),
        ("use_graph", POSITIONAL, False),
        ("max_num_seqs", POSITIONAL, None),
        ("kwargs", KEYWORDS, REQUIRED),
    ],
    "chunk_retention": [
        ("q", POSITIONAL, REQUIRED),
        ("k", POSITIONAL, REQUIRED),
        ("v", POSITIONAL, REQUIRED),
        ("scale", POSITIONAL, None),
        ("initial_state", POSITIONAL, None),
        ("output_final_state", POSITIONAL, False),
        ("cu_seqlens", POSITIONAL, None),
        ("kwargs", KEYWORDS, REQUIRED),
    ],
    "chunk_simple_gla": [
        ("q", POSITIONAL, REQUIRED),
        ("k", POSITIONAL, REQUIRED),
        ("v", POSITIONAL, REQUIRED),
        ("g", POSITIONAL, None),
        ("g_gamma", POSITIONAL, None),
        ("scale", POSITIONAL, None),
        ("initial_state", POSITIONAL, None),
        ("output_final_state", POSITIONAL, False),
        ("state_v_first", POSITIONAL, False),
        ("cu_seqlens", POSITIONAL, None),
        ("cu_seqlens_cpu", POSITIONAL, None),
        ("kwargs", KEYWORDS, REQUIRED),
    ],
    "fused_recurrent_gated_delta_rule": [
        ("q", POSITIONAL, REQUIRED),
        ("k", POSITIONAL, REQUIRED),
        ("v", POSITIONAL, REQUIRED),
        ("g", POSITIONAL, None),
        ("gk", POSITIONAL, None),
        ("gv", POSITIONAL, None),
        ("beta", POSITIONAL, None),
        ("scale", POSITIONAL, None),
        ("initial_state", POSITIONAL, None),
        ("output_final_state", POSITIONAL, False),
        ("use_qk_l2norm_in_kernel", POSITIONAL, False),
        ("use_gate_in_kernel", POSITIONAL, False),
        ("A_log", POSITIONAL, None),
        ("dt_bias", POSITIONAL, None),
        ("use_beta_sigmoid_in_kernel", POSITIONAL, False),
        ("allow_neg_eigval", POSITIONAL, False),
        ("state_v_first", POSITIONAL, False),
        ("cu_seqlens", POSITIONAL, None),
        ("kwargs", KEYWORDS, REQUIRED),
    ],
    "fused_recurrent_gla": [
        ("q", POSITIONAL, REQUIRED),
        ("k", POSITIONAL, REQUIRED),
        ("v", POSITIONAL, REQUIRED),
        ("gk", POSITIONAL, None),
        ("gv", POSITIONAL, None),
        ("scale", POSITIONAL, None),
        ("initial_state", POSITIONAL, None),
        ("output_final_state", POSITIONAL, False),
        ("reverse", POSITIONAL, False),
        ("state_v_first", POSITIONAL, False),
        ("cu_seqlens", POSITIONAL, None),
        ("kwargs", KEYWORDS, REQUIRED),
    ],
    "fused_recurrent_kda": [
        ("q", POSITIONAL, REQUIRED),
        ("k", POSITIONAL, REQUIRED),
        ("v", POSITIONAL, REQUIRED),
        ("g", POSITIONAL, REQUIRED),
        ("beta", POSITIONAL, REQUIRED),
        ("A_log", POSITIONAL, None),
        ("dt_bias", POSITIONAL, None),
        ("scale", POSITIONAL, None),
        ("initial_state", POSITIONAL, None),
        ("output_final_state", POSITIONAL, False),
        ("use_qk_l2norm_in_kernel", POSITIONAL, False),
        ("use_gate_in_kernel", POSITIONAL, False),
        ("use_beta_sigmoid_in_kernel", POSITIONAL, False),
        ("allow_neg_eigval", POSITIONAL, False),
        ("lower_bound", POSITIONAL, None),
        ("state_v_first", POSITIONAL, False),
        ("cu_seqlens", POSITIONAL, None),
        ("kwargs", KEYWORDS, REQUIRED),
    ],
    "fused_recurrent_simple_gla": [
        ("q", POSITIONAL, REQUIRED),
        ("k", POSITIONAL, REQUIRED),
        ("v", POSITIONAL, REQUIRED),
        ("g", POSITIONAL, None),
        ("g_gamma", POSITIONAL, None),
        ("scale", POSITIONAL, None),
        ("initial_state", POSITIONAL, None),
        ("output_final_state", POSITIONAL, False),
        ("reverse", POSITIONAL, False),
        ("state_v_first", POSITIONAL, False),
        ("cu_seqlens", POSITIONAL, None),
        ("kwargs", KEYWORDS, REQUIRED),
    ],
}
"""Name, kind and default of the library's parameters, by function, as of ``VERSION``."""

MODULES = {
    "chunk_delta_rule": "delta_rule", "chunk_gated_delta_product": "gated_delta_product",
    "chunk_gated_delta_rule": "gated_delta_rule", "chunk_gla": "gla", "chunk_kda": "kda",
    "chunk_retention": "retention", "chunk_simple_gla": "simple_gla",
    "fused_recurrent_gated_delta_rule": "gated_delta_rule", "fused_recurrent_gla": "gla",
    "fused_recurrent_kda": "kda", "fused_recurrent_simple_gla": "simple_gla",
}  # fmt: skip


def signature(function: Any) -> Signature:
    return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]


def test_every_op_is_compared() -> None:
    assert set(SIGNATURES) == set(MODULES) == set(ops.__all__)


@pytest.mark.parametrize("name", SIGNATURES)
def test_parameters_match_the_library_and_extra_ones_are_keyword_only(name: str) -> None:
    theirs = [p for p in SIGNATURES[name] if p[1] is not KEYWORDS]
    ours = signature(getattr(ops, name))
    assert ours[: len(theirs)] == theirs
    for parameter, kind, _ in ours[len(theirs) :]:
        assert kind in (Parameter.KEYWORD_ONLY, KEYWORDS), parameter


@pytest.mark.parametrize("name", SIGNATURES)
def test_the_signatures_here_are_those_of_the_library(name: str) -> None:
    try:
        installed = importlib.metadata.version("flash-linear-attention")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("flash-linear-attention is not installed")
    if installed != VERSION:
        pytest.skip(f"flash-linear-attention {installed} is installed, not {VERSION}")
    module = importlib.import_module(f"fla.ops.{MODULES[name]}")
    assert signature(getattr(module, name)) == SIGNATURES[name]


def test_parameters_whose_position_changed() -> None:
    """With K = V a misplaced argument gives wrong numbers, not an error."""
    x = {n: t[..., :16] if n == "v" else t for n, t in call(V=16, T=9).items()}
    h0 = x["initial_state"]
    square = (x["q"], x["k"], x["v"])
    for name, gate in (("fused_recurrent_gla", torch.randn(2, 9, 4, 16)),
                       ("fused_recurrent_simple_gla", torch.randn(2, 9, 4))):  # fmt: skip
        op, g = getattr(ops, name), -gate.abs()
        o, ht = op(*square, g, None, None, h0, True, False, True)
        o_ref, ht_ref = op(*square, g, initial_state=h0.mT, output_final_state=True)
        assert torch.equal(o, o_ref)
        assert torch.equal(ht.mT, ht_ref)
    packed = call(B=1, T=9, offsets=[0, 4, 9], V=16)
    o_ref, _ = expected(packed)
    o, _ = ops.chunk_gated_delta_product(
        packed["q"], packed["k"], packed["v"], packed["g"], packed["beta"], 1, None,
        packed["initial_state"], True, False, packed["cu_seqlens"], packed["cu_seqlens"],
    )  # fmt: skip
    assert_close("o", o_ref, o, 1e-5)


def kda(**more: Any) -> dict[str, Any]:
    """A call of ``chunk_kda`` with a raw gate."""
    x = tensors()
    torch.manual_seed(3)
    return {
        "q": x["q"], "k": x["k"], "v": x["v"], "g": torch.randn(x["gk"].shape), "beta": x["beta"],
        "use_gate_in_kernel": True, "A_log": torch.randn(4), "dt_bias": torch.randn(4 * 16),
    } | more  # fmt: skip


@pytest.mark.parametrize("name", ["chunk_kda", "fused_recurrent_kda"])
@pytest.mark.parametrize("rate", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_a_gate_with_a_lower_bound(name: str, rate: bool, bias: bool) -> None:
    x = kda(lower_bound=-3.0) | ({} if rate else {"A_log": None})
    x |= {} if bias else {"dt_bias": None}
    raw = x["g"].double() + (x["dt_bias"].double().view(4, 16) if bias else 0)
    decay = -3.0 * torch.sigmoid(x["A_log"].double().exp().view(4, 1) * raw if rate else raw)
    plain = {n: x[n] for n in ("q", "k", "v", "beta")} | {"initial_state": None}
    o_ref, _ = expected(plain | {"g": decay, "cu_seqlens": None})
    o, _ = getattr(ops, name)(**x)
    assert_close("o", o_ref, o, 1e-5)


def test_gradients_of_a_gate_with_a_lower_bound_do_not_see_the_padding() -> None:
    x = {n: t[:1].clone() if n in ("q", "k", "v", "g", "beta") else t for n, t in kda().items()}
    leaves = {n: x[n].clone().requires_grad_() for n in ("g", "A_log", "dt_bias")}
    exact = {n: x[n].double().requires_grad_() for n in leaves}
    with torch.no_grad():
        leaves["g"][:, 30:] = float("nan")
    o, _ = ops.chunk_kda(
        **(x | leaves), lower_bound=-5.0, safe_gate=True, cu_seqlens=torch.tensor([0, 30])
    )
    o.sum().backward()
    raw = exact["g"] + exact["dt_bias"].view(4, 16)
    decay = -5.0 * torch.sigmoid(exact["A_log"].exp().view(4, 1) * raw)
    cut = {n: x[n][:, :30] for n in ("q", "k", "v", "beta")}
    o_ref, _ = expected(cut | {"initial_state": None, "g": decay[:, :30], "cu_seqlens": None})
    o_ref.sum().backward()
    for name, leaf in exact.items():
        assert_close(name, leaf.grad, leaves[name].grad, 1e-4)


@pytest.mark.parametrize("more", [{"safe_gate": True}, {"lower_bound": -5.0}])
def test_a_bound_is_ignored_for_an_activated_gate(more: dict[str, Any]) -> None:
    x = kda(use_gate_in_kernel=False, g=tensors()["gk"], A_log=None, dt_bias=None)
    assert torch.equal(ops.chunk_kda(**x)[0], ops.chunk_kda(**x, **more)[0])


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"safe_gate": True}, "lower_bound=None .* >= -5 and < 0"),
        ({"safe_gate": True, "lower_bound": -6.0}, "lower_bound=-6.0 .* >= -5 and < 0"),
        ({"lower_bound": 0.0}, "lower_bound=0.0 .* < 0"),
        ({"lower_bound": float("nan")}, "lower_bound=nan"),
        ({"lower_bound": float("-inf")}, "lower_bound=-inf"),
        ({"lower_bound": "-5"}, "lower_bound='-5'"),
        ({"lower_bound": -5.0, "g": [0.0]}, "g is a list"),
        ({"lower_bound": -5.0, "A_log": torch.zeros(3)}, r"A_log has shape \[3\]"),
    ],
)
def test_bounds_that_are_refused(more: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidInput, match=text):
        ops.chunk_kda(**(kda() | more))


def test_disable_recompute_is_refused_and_names_saving_for_backward() -> None:
    with pytest.raises(UnsupportedProblem, match=r"gdn_ops.saving_for_backward\('states'\)"):
        gdn_ops.chunk_kda(**kda(disable_recompute=True))
