"""Input that the public functions refuse: wrong types, scales, gates and devices."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import gdn_ops
from gdn_ops.errors import InvalidInput, UnsupportedProblem
from tests.close import assert_close
from tests.gdn_ops.ops.calls import call, expected

PROBLEM = gdn_ops.Problem(
    op="decode", H=1, HV=1, K=16, V=16, dtype="fp32", tokens=1, sequences=1
)  # fmt: skip


def raw() -> dict[str, Any]:
    """A call with a raw gate."""
    A_log = torch.randn(4)
    return call() | {"use_gate_in_kernel": True, "A_log": A_log, "dt_bias": torch.randn(4)}


@pytest.mark.parametrize("seen", (False, True))
@pytest.mark.parametrize(
    "name", ("cu_seqlens", "A_log", "dt_bias", "initial_state", "g", "beta", "k", "v")
)
def test_a_list_for_a_tensor_is_refused(name: str, seen: bool) -> None:
    arguments = raw()
    with torch.no_grad():
        if seen:
            gdn_ops.chunk_gated_delta_rule(**arguments)
        for function in (gdn_ops.chunk_gated_delta_rule, gdn_ops.explain):
            with pytest.raises(InvalidInput, match=f"{name} is a list; give a torch.Tensor"):
                function(**(arguments | {name: [0, 37]}))


@pytest.mark.parametrize("name", ("gk", "gv"))
def test_a_list_for_a_vector_gate_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match=f"{name} is a list; give a torch.Tensor"):
        gdn_ops.fused_recurrent_gated_delta_rule(**call(), **{name: [0.0]})


def test_a_list_for_beta_is_refused_by_the_recurrent_function() -> None:
    with pytest.raises(InvalidInput, match="beta is a list"):
        gdn_ops.fused_recurrent_gated_delta_rule(**(call() | {"beta": [1.0]}))


@pytest.mark.parametrize(
    ("scale", "text"),
    [
        ("0.5", "scale='0.5' is a str; give a float"),
        (1j, "scale=1j is a complex"),
        (True, "scale=True is a bool"),
        ([0.5], r"scale=\[0.5\] is a list"),
        (float("nan"), "scale=nan is not finite"),
        (float("-inf"), "scale=-inf is not finite"),
        (10**400, "is not finite"),
        pytest.param(10**5000, "of type int, too large to show is not finite", id="huge"),
        (torch.ones(3), r"scale is a tensor \[3\]; give one number"),
        (torch.tensor(float("nan")), "is not finite"),
        (torch.ones((), requires_grad=True), "scale requires a gradient"),
    ],
)
def test_an_odd_scale_is_refused(scale: Any, text: str) -> None:
    with pytest.raises(InvalidInput, match=text):
        gdn_ops.chunk_gated_delta_rule(**call(), scale=scale)


@pytest.mark.parametrize("scale", (2, torch.tensor(2.0), torch.tensor([2.0]).numpy()[0]))
@pytest.mark.parametrize("plan", ("torch", "recurrent"))
def test_any_real_number_is_accepted_as_scale(plan: str, scale: Any) -> None:
    arguments = call(T=5)
    with torch.no_grad(), gdn_ops.using(plan):
        o, _ = gdn_ops.chunk_gated_delta_rule(**arguments, scale=2.0)
        same, _ = gdn_ops.chunk_gated_delta_rule(**arguments, scale=scale)
    assert torch.equal(o, same)


@pytest.mark.parametrize("value", (1e-3, float("inf")))
def test_a_positive_log_decay_is_refused_on_the_cpu(value: float) -> None:
    arguments = call()
    arguments["g"][1, 36, 3] = value
    with pytest.raises(InvalidInput, match=f"log decay {value:.3g}; it must be <= 0"):
        gdn_ops.chunk_gated_delta_rule(**arguments)


def test_a_single_token_is_right_with_a_positive_log_decay() -> None:
    arguments = call(T=1)
    arguments["g"][:] = 0.25
    o_ref, _ = expected(arguments)
    with torch.no_grad():
        o, _ = gdn_ops.chunk_gated_delta_rule(**arguments)
    assert_close("o", o_ref, o, 1e-5)


def test_raw_gates_nan_and_padding_may_be_positive() -> None:
    with torch.no_grad():
        gdn_ops.chunk_gated_delta_rule(**(raw() | {"g": torch.ones(2, 37, 4)}))
        padded = call(B=1, T=40, offsets=[0, 33])
        padded["g"][:, 33:] = 1.0
        gdn_ops.chunk_gated_delta_rule(**padded)
        lost = call()
        lost["g"][0, 3] = float("nan")
        o, _ = gdn_ops.chunk_gated_delta_rule(**lost)
    assert o[0].isnan().any() and not o[1].isnan().any()


@pytest.mark.parametrize("forced", (5, None, ["torch"], gdn_ops.Variant))
def test_using_takes_a_name_or_a_variant(forced: Any) -> None:
    with (
        pytest.raises(InvalidInput, match=r"give a plan's name .*torch.* or a Variant"),
        gdn_ops.using(forced),
    ):
        pass


@pytest.mark.parametrize(
    ("device", "text"),
    [
        ("cuda:99", "device cuda:99 is not in this machine"),
        ("tpu", "device='tpu' is not a torch device"),
        ("", "device='' is not a torch device"),
        ([0], r"device=\[0\] is not a torch device"),
    ],
)
def test_a_device_missing_from_the_machine_is_refused(device: Any, text: str) -> None:
    with pytest.raises(InvalidInput, match=text):
        gdn_ops.warmup(PROBLEM, device)
    if device is not None:
        with pytest.raises(InvalidInput, match=text):
            gdn_ops.explain(PROBLEM, device=device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_without_a_gpu_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"device cuda is not in this machine \(GPUs: none\)"):
        gdn_ops.warmup(PROBLEM, "cuda")


def test_a_device_type_without_plans_is_refused() -> None:
    with pytest.raises(UnsupportedProblem, match="device meta has type 'meta'"):
        gdn_ops.warmup(PROBLEM, "meta")


@pytest.mark.parametrize(
    ("problems", "options", "text"),
    [
        (5, {}, "5 is not a Problem; give gdn_ops.Problem"),
        ([PROBLEM, "decode"], {}, "'decode' is not a Problem"),
        (PROBLEM, {"gate_dtype": "fp32"}, "gate_dtype='fp32' is not a floating-point torch.dtype"),
        (PROBLEM, {"beta_dtype": torch.int32}, "beta_dtype=torch.int32 is not a floating-point"),
    ],
)
def test_warmup_refuses_other_types(problems: Any, options: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidInput, match=text):
        gdn_ops.warmup(problems, "cpu", **options)


def gate_of_channels() -> dict[str, Any]:
    """A call of the recurrent function with gates that no plan supports."""
    return call() | {"gk": -torch.rand(2, 37, 4, 16)}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"g": -torch.rand(37, 4)}, r"g has shape \[37, 4\]; it must be \[B, T, HV\]"),
        ({"g": -torch.rand(2, 1, 4)}, r"g has shape \[2, 1, 4\]"),
        ({"g": torch.zeros(2, 37, 4, dtype=torch.complex64)}, "g is torch.complex64"),
        ({"g": [0.0]}, "g is a list"),
        ({"q": None}, "q is a NoneType"),
        ({"beta": 3}, "beta is a int"),
        ({"gk": torch.zeros(2, 37, 4, 16).long()}, "gk is torch.int64"),
        ({"gv": torch.zeros(2, 37, 4, 32, device="meta")}, "gv is on meta and v on cpu"),
        ({"A_log": torch.zeros(3), "use_gate_in_kernel": True}, r"A_log has shape \[3\]"),
    ],
)
def test_the_recurrent_function_checks_what_it_computes_itself(
    change: dict[str, Any], text: str
) -> None:
    with pytest.raises(InvalidInput, match=text):
        gdn_ops.fused_recurrent_gated_delta_rule(**(gate_of_channels() | change))


@pytest.mark.parametrize("seen", (False, True))
def test_tensors_that_are_not_dense_are_refused(seen: bool) -> None:
    arguments = call(T=5)
    nested = torch.nested.nested_tensor([torch.zeros(3, 2, 16), torch.zeros(5, 2, 16)])
    if seen:
        gdn_ops.chunk_gated_delta_rule(**arguments)
    with pytest.raises(InvalidInput, match="q is a nested tensor; give a dense one"):
        gdn_ops.chunk_gated_delta_rule(**(arguments | {"q": nested}))
    for name in ("q", "k", "v", "g", "beta", "initial_state"):
        sparse = {name: arguments[name].to_sparse()}
        text = rf"{name} is a torch\.sparse_coo tensor; give a dense one"
        with pytest.raises(InvalidInput, match=text):
            gdn_ops.chunk_gated_delta_rule(**(arguments | sparse))


def test_a_gate_of_8_bits_is_refused() -> None:
    arguments = call(T=5)
    arguments["g"] = arguments["g"].to(torch.float8_e4m3fn)
    with pytest.raises(InvalidInput, match=r"float8_e4m3fn; make it .* of 16 bits or more"):
        gdn_ops.chunk_gated_delta_rule(**arguments)


@pytest.mark.parametrize("name", ("k", "v", "g", "beta", "A_log", "dt_bias"))
def test_float64_gets_the_same_checks(name: str) -> None:
    x = call() | {"g": torch.randn(2, 37, 4, 16), "dt_bias": torch.randn(64)}
    x["A_log"] = torch.randn(4)
    x = {n: t.double() if isinstance(t, torch.Tensor) else t for n, t in x.items()}
    with pytest.raises(InvalidInput, match=f"{name} is torch.int64"):
        gdn_ops.chunk_kda(**(x | {name: x[name].long()}), use_gate_in_kernel=True)


def test_the_other_rules_name_an_argument_of_a_wrong_type() -> None:
    x = call(T=4)
    q, k = x["q"], x["k"]
    with pytest.raises(InvalidInput, match="v is a NoneType"):
        gdn_ops.chunk_simple_gla(q, k, None, g_gamma=-torch.rand(4))  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="g_gamma is a float"):
        gdn_ops.chunk_simple_gla(q, k, x["v"], g_gamma=-0.5)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="v is a list"):
        gdn_ops.chunk_retention(q, k, [0.0])  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match=r"beta is a NoneType"):
        gdn_ops.chunk_gated_delta_product(q, k, x["v"], x["g"], None, 1)  # type: ignore[arg-type]
