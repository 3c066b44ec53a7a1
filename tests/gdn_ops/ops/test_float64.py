"""Every op accepts float64 and computes in it by the chunkwise form, whatever plan is forced."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import gdn_ops
from gdn_ops import ops
from gdn_ops.reference import gated_delta_rule_reference, recurrent_reference
from tests.close import assert_close
from tests.gdn_ops.launch.test_gradients import leaves
from tests.gdn_ops.ops.calls import call, expected

BAR = 1e-12


def exact(**sizes: Any) -> dict[str, Any]:
    """A call whose tensors are all float64."""
    return {
        n: x.double() if isinstance(x, Tensor) and x.is_floating_point() else x
        for n, x in call(**sizes).items()
    }


@pytest.mark.parametrize("name", ["chunk_gated_delta_rule", "fused_recurrent_gated_delta_rule"])
@pytest.mark.parametrize("plan", ["torch", "split"])
def test_the_gated_rule(name: str, plan: str) -> None:
    x = exact(T=70)
    with gdn_ops.using(plan):
        o, ht = getattr(ops, name)(**x)
    o_ref, ht_ref = expected(x)
    assert o.dtype == ht.dtype == torch.float64
    assert_close("o", o_ref, o, BAR)
    assert_close("ht", ht_ref, ht, BAR)


def test_rules_built_on_the_gated_rule() -> None:
    x = exact(T=12)
    del x["cu_seqlens"]
    o_ref, ht_ref = expected(x | {"g": None, "cu_seqlens": None})
    o, ht = ops.chunk_delta_rule(**{n: t for n, t in x.items() if n != "g"})
    assert_close("o", o_ref, o, BAR)
    assert_close("ht", ht_ref, ht, BAR)
    o_ref, ht_ref = expected(x | {"cu_seqlens": None})
    o, ht = ops.chunk_gated_delta_product(num_householder=1, **x)
    assert_close("o", o_ref, o, BAR)
    assert_close("ht", ht_ref, ht, BAR)


@pytest.mark.parametrize(
    "name", ["chunk_gla", "chunk_simple_gla", "fused_recurrent_gla", "fused_recurrent_simple_gla"]
)
def test_rules_without_the_delta(name: str) -> None:
    x = exact(T=12)
    g = x["g"] if "simple" in name else -torch.rand(2, 12, 4, 16, dtype=torch.float64)
    o, _ = getattr(ops, name)(x["q"], x["k"], x["v"], g, initial_state=x["initial_state"])
    o_ref, _ = recurrent_reference(
        x["q"], x["k"], x["v"], g, initial_state=x["initial_state"], delta=False
    )
    assert_close("o", o_ref, o, BAR)


@pytest.mark.parametrize("compiled", [False, True])
def test_flags_and_gradients(compiled: bool) -> None:
    x = exact(T=20)
    x |= {"A_log": torch.randn(4).double(), "dt_bias": torch.randn(4).double()}
    x["beta"] = torch.randn(2, 20, 4).double()
    del x["cu_seqlens"]
    flags = dict.fromkeys(
        ("use_gate_in_kernel", "use_qk_l2norm_in_kernel", "use_beta_sigmoid_in_kernel",
         "allow_neg_eigval"), True,
    )  # fmt: skip

    def loss(function: Any, given: dict[str, Any]) -> Tensor:
        o, ht = function(**given, **flags)
        return o.square().sum() + ht.sum()

    function = ops.chunk_gated_delta_rule
    if compiled:
        torch.compiler.reset()
        function = torch.compile(function, fullgraph=True, backend="aot_eager")
    ours, right = leaves(x, torch.float64), leaves(x, torch.float64)
    loss(function, x | ours).backward()
    loss(gated_delta_rule_reference, x | right).backward()
    for name, leaf in right.items():
        assert_close(name, leaf.grad, ours[name].grad, BAR)


def test_nan_after_packed_sequences_has_no_effect() -> None:
    x = exact(B=1, T=40, offsets=[0, 5, 5, 33])
    clean = {n: t.clone() if isinstance(t, Tensor) else t for n, t in x.items()}
    for name in ("q", "k", "v", "g", "beta"):
        x[name][:, 33:] = float("nan")
        clean[name][:, 33:] = 0
    ours = leaves(x, torch.float64)
    o, ht = ops.chunk_gated_delta_rule(**(x | ours), use_qk_l2norm_in_kernel=True)
    assert ht is not None
    (o.sum() + ht.sum()).backward()
    o_ref, _ = gated_delta_rule_reference(**clean, use_qk_l2norm_in_kernel=True)
    assert_close("o", o_ref, o.detach(), BAR)
    for name in ("q", "k", "v", "g", "beta"):
        assert ours[name].grad.isfinite().all()
        assert not ours[name].grad[:, 33:].any(), name
