"""Gradients of the public function on every plan that computes them, against fp64 autograd."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import softplus

import gdn_ops
from gdn_ops.errors import UnsupportedProblem
from tests.close import assert_close
from tests.gdn_ops.ops.calls import call

PLANS = ("torch", "split")
LEAVES = ("q", "k", "v", "g", "beta", "initial_state", "A_log", "dt_bias")
LOOSE = ("g", "beta", "A_log", "dt_bias")
CASES: dict[str, dict[str, Any]] = {
    "ragged": {"T": 21},
    "one chunk and a token": {"T": 65, "B": 1, "HV": 2},
    "no gate": {"gate": "none", "T": 20, "B": 1},
    "never decays": {"gate": "zero", "T": 20, "B": 1},
    "decays at once": {"gate": "strong", "T": 20, "B": 1},
    "odd head dims": {"K": 60, "V": 20, "T": 21, "B": 1},
    "packed": {"B": 1, "T": 70, "HV": 2, "offsets": [0, 5, 5, 70]},
    "packed with padding": {"B": 1, "T": 40, "offsets": [0, 33]},
    "no state": {"state": False, "T": 20},
    "half precision": {"dtype": torch.float16, "T": 40, "B": 1},
    "bf16": {"dtype": torch.bfloat16, "T": 40, "B": 1},
    "bf16, heads of 64": {"dtype": torch.bfloat16, "B": 1, "T": 70, "HV": 2, "K": 64, "V": 64},
}


def leaves(arguments: Mapping[str, Any], dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    given = {n: arguments.get(n) for n in LEAVES}
    return {
        n: x.detach().to(dtype or x.dtype).clone().requires_grad_()
        for n, x in given.items()
        if isinstance(x, Tensor)
    }


def reference(arguments: Mapping[str, Any], wide: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    x = dict(arguments) | dict(wide)
    if x.pop("use_gate_in_kernel", False):
        x["g"] = -x["A_log"].exp() * softplus(x["g"] + x["dt_bias"])
    return gdn_ops.reference.recurrent_reference(
        x["q"], x["k"], x["v"], x["g"], x["beta"],
        initial_state=x["initial_state"], cu_seqlens=x["cu_seqlens"],
    )  # fmt: skip


def check(plan: str, arguments: dict[str, Any], *, state: bool = True) -> None:
    """Compare all gradients of a random linear function of o and, if requested, of the state."""
    ours, wide = leaves(arguments), leaves(arguments, torch.float64)
    with gdn_ops.using(plan):
        o, ht = gdn_ops.chunk_gated_delta_rule(**(arguments | ours))
    o_ref, ht_ref = reference(arguments, wide)
    end = o_ref.shape[1] if arguments["cu_seqlens"] is None else int(arguments["cu_seqlens"][-1])
    do = torch.randn_like(o)
    do[:, end:] = 0
    torch.autograd.backward([o_ref], [do.double()], retain_graph=state)
    if state:
        assert ht is not None
        dht = torch.randn_like(ht)
        torch.autograd.backward([o, ht], [do, dht])
        torch.autograd.backward([ht_ref], [dht.double()])
    else:
        o.backward(do)
    single = o.dtype == torch.float32
    for name, leaf in ours.items():
        bar = 1e-4 if single else 2e-2 if name in LOOSE else 8e-3
        got, ref = leaf.grad, wide[name].grad
        assert got is not None and ref is not None and got.dtype == leaf.dtype
        if name in ("q", "k", "v", "g", "beta"):
            assert not got[:, end:].any(), f"d{name} of tokens of no sequence"
            got, ref = got[:, :end], ref[:, :end]
        assert_close(f"d{name}", ref, got, bar)


GRADIENTS = [(plan, name) for plan in PLANS for name in CASES if "heads of 64" not in name]
GRADIENTS += [(plan, "bf16, heads of 64") for plan in ("fused_sm90", "fused_sm100")]
GRADIENTS += [("recurrent", name) for name in ("odd head dims", "packed with padding")]
GRADIENTS += [
    ("fused", name)
    for name in ("no gate", "decays at once", "odd head dims", "packed", "no state", "bf16")
]


@pytest.mark.parametrize(("plan", "name"), GRADIENTS)
def test_every_gradient_equals_fp64_autograd(plan: str, name: str) -> None:
    check(plan, call(**CASES[name]))


def test_a_decode_step_has_gradients() -> None:
    check("torch", call(T=1, B=3))


@pytest.mark.parametrize("plan", (*PLANS, "fused", "recurrent"))
def test_a_raw_gate_has_gradients_too(plan: str) -> None:
    arguments = call(T=37, B=1)
    heads = arguments["v"].shape[2]
    arguments |= {
        "g": torch.randn(1, 37, heads), "use_gate_in_kernel": True,
        "A_log": torch.randn(heads), "dt_bias": torch.randn(heads),
    }  # fmt: skip
    check(plan, arguments)


@pytest.mark.parametrize("plan", PLANS)
def test_the_state_need_not_be_used(plan: str) -> None:
    check(plan, call(T=20, B=1), state=False)


def test_outputs_need_not_be_used() -> None:
    arguments = call(T=20, B=1)
    ours, wide = leaves(arguments), leaves(arguments, torch.float64)
    _, ht = gdn_ops.chunk_gated_delta_rule(**(arguments | ours))
    assert ht is not None
    ht.sum().backward()
    reference(arguments, wide)[1].sum().backward()
    assert_close("dv", wide["v"].grad, ours["v"].grad, 1e-4)
    assert not ours["q"].grad.any()


def test_only_inputs_that_require_a_gradient_get_one() -> None:
    arguments = call(T=20, B=1)
    v = arguments["v"].requires_grad_()
    o, _ = gdn_ops.chunk_gated_delta_rule(**arguments)
    o.sum().backward()
    assert v.grad is not None and arguments["q"].grad is None


def test_an_input_modified_before_the_backward_is_an_error() -> None:
    arguments = call(T=20, B=1)
    ours = leaves(arguments)
    o, _ = gdn_ops.chunk_gated_delta_rule(**(arguments | ours))
    with torch.no_grad():
        ours["k"].mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        o.sum().backward()


def test_a_plan_without_gradients_is_refused_before_anything_runs() -> None:
    arguments = call(T=20, B=1)
    with (
        gdn_ops.using("fused1"),
        pytest.raises(UnsupportedProblem, match="no backward"),
    ):
        gdn_ops.chunk_gated_delta_rule(**(arguments | leaves(arguments)))


def test_explain_covers_the_gradients_and_the_saved_tensors() -> None:
    arguments = call(T=37)
    text = str(gdn_ops.explain(**(arguments | leaves(arguments))))
    assert "problem  backward-" in text and "torch_backward" not in text.split("backward-")[0]
    assert "saves    the inputs, 200 bytes per token" in text
    assert "inputs (in force): nothing but the inputs" in text
    assert "backward" not in str(gdn_ops.explain(**arguments))


def test_gradients_of_gradients_are_refused() -> None:
    arguments = call(T=5, B=1)
    ours = leaves(arguments)
    o, _ = gdn_ops.chunk_gated_delta_rule(**(arguments | ours))
    with pytest.raises(UnsupportedProblem, match="create_graph=True"):
        torch.autograd.grad(o.sum(), ours["q"], create_graph=True)


def test_an_empty_batch_has_empty_gradients() -> None:
    arguments = call(T=5)
    rows = {n: x[:0] if isinstance(x, Tensor) else x for n, x in arguments.items()}
    ours = leaves(rows)
    o, _ = gdn_ops.chunk_gated_delta_rule(**(rows | ours))
    o.sum().backward()
    assert all(x.grad is not None and x.grad.shape == x.shape for x in ours.values())


@pytest.mark.parametrize("raw", [False, True])
def test_nan_in_the_padding_does_not_reach_gradients_through_norms_and_sigmoids(raw: bool) -> None:
    arguments = call(B=1, T=20, offsets=[0, 14]) | {
        "use_qk_l2norm_in_kernel": True, "use_beta_sigmoid_in_kernel": True
    }  # fmt: skip
    if raw:
        heads = arguments["v"].shape[2]
        arguments |= {"use_gate_in_kernel": True, "A_log": torch.randn(heads)}
    for name in ("q", "k", "v", "g", "beta"):
        arguments[name][:, 14:] = float("nan")
    ours = leaves(arguments)
    o, _ = gdn_ops.chunk_gated_delta_rule(**(arguments | ours))
    o.sum().backward()
    for name, leaf in ours.items():
        assert leaf.grad is not None and leaf.grad.isfinite().all(), name


@pytest.mark.parametrize("plan", ("torch", "recurrent"))
def test_results_may_be_changed_in_place(plan: str) -> None:
    arguments = call(B=1, T=5, H=1, HV=2)
    ours, wide = leaves(arguments), leaves(arguments, torch.float64)
    with gdn_ops.using(plan):
        o, ht = gdn_ops.chunk_gated_delta_rule(**(arguments | ours))
    assert ht is not None
    (o.mul_(2).sum() + ht.mul_(3).sum()).backward()
    o, ht = reference(arguments, wide)
    (2 * o.sum() + 3 * ht.sum()).backward()
    for name, leaf in ours.items():
        assert_close(f"d{name}", wide[name].grad, leaf.grad, 1e-4)


def test_offsets_modified_before_the_backward_are_refused() -> None:
    offsets = torch.tensor([0, 2, 5], dtype=torch.int32)
    arguments = call(B=1, T=5, H=1, HV=2, offsets=[0, 2, 5]) | {"cu_seqlens": offsets}
    o, _ = gdn_ops.chunk_gated_delta_rule(**(arguments | leaves(arguments)))
    offsets[1] = 4
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        o.sum().backward()


def test_autocast_does_not_affect_the_norm() -> None:
    arguments = call(T=5) | {"use_qk_l2norm_in_kernel": True}
    o, _ = gdn_ops.chunk_gated_delta_rule(**arguments)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        same, _ = gdn_ops.chunk_gated_delta_rule(**arguments)
    assert torch.equal(o, same)
