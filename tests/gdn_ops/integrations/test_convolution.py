"""The convolutions that replace those of transformers give the same numbers."""

from __future__ import annotations

import inspect

import pytest
import torch

from gdn_ops.errors import UnsupportedProblem
from gdn_ops.integrations import hub_layers
from gdn_ops.integrations.convolution import causal_conv1d_fn, causal_conv1d_update

modelling = pytest.importorskip("transformers.models.qwen3_5.modeling_qwen3_5")
if not hasattr(modelling, "causal_conv1d_update"):
    pytest.skip("this transformers has its convolutions elsewhere", allow_module_level=True)

BARS = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float64: 1e-12}


def refused(*_: object, **__: object) -> torch.Tensor:
    raise AssertionError("the original is called")


def parameters(dtype: torch.dtype, bias: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
    return torch.randn(6, 4, dtype=dtype), torch.randn(6, dtype=dtype) if bias else None


@pytest.mark.parametrize("dtype", BARS)
@pytest.mark.parametrize(("bias", "activation"), [(False, "silu"), (True, None)])
@torch.no_grad()
def test_prefill_and_decode_give_the_numbers_of_the_original(dtype, bias, activation):
    torch.manual_seed(0)
    weight, offset = parameters(dtype, bias)
    x = torch.randn(2, 9, 6, dtype=dtype).mT
    expected = modelling.causal_conv1d_fn(x, weight, offset, activation)
    actual = causal_conv1d_fn(refused)(x, weight, offset, activation, seq_idx=None, other=1)
    assert actual.dtype == dtype and actual.stride(1) == 1
    torch.testing.assert_close(actual, expected, rtol=BARS[dtype], atol=BARS[dtype])
    for length, step in ((4, 1), (5, 1), (4, 3)):
        state = torch.randn(2, 6, length, dtype=dtype)
        theirs = state.clone()
        for t in range(0, 9, step):
            token = x[:, :, t : t + step]
            expected = modelling.causal_conv1d_update(token, theirs, weight, offset, activation)
            actual = causal_conv1d_update(refused)(token, state, weight, offset, activation)
            assert actual.dtype == dtype and actual.shape == expected.shape
            torch.testing.assert_close(actual, expected, rtol=BARS[dtype], atol=BARS[dtype])
            assert torch.equal(state, theirs)


def test_gradients_are_those_of_the_original():
    torch.manual_seed(0)
    found = []
    for function in (modelling.causal_conv1d_fn, causal_conv1d_fn(refused)):
        torch.manual_seed(0)
        weight, bias = parameters(torch.float32, True)
        given = (torch.randn(2, 6, 9), weight, bias)
        for x in given:
            x.requires_grad_()
        y = function(*given, "silu")
        found.append(torch.autograd.grad(y, given, torch.randn(y.shape)))
    for actual, expected in zip(*found, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_calls_of_another_kind_go_to_the_original():
    weight, _ = parameters(torch.float32, False)
    x, state = torch.randn(1, 6, 9), torch.zeros(1, 6, 4)
    asked = []

    def original(*arguments: object, **named: object) -> torch.Tensor:
        asked.append((arguments, named))
        return x

    fn, update = causal_conv1d_fn(original), causal_conv1d_update(original)
    for call in (
        lambda: fn(x, weight, None, "silu", seq_idx=torch.zeros(1, 9)),
        lambda: fn(x, weight, None, "gelu"),
        lambda: fn(x.to("meta"), weight.to("meta")),
        lambda: update(x.to("meta"), state.to("meta"), weight.to("meta")),
        lambda: update(x[:, :, :1], state, weight, None, "gelu"),
    ):
        asked.clear()
        assert call() is x
        assert len(asked) == 1


@torch.no_grad()
def test_layers_of_an_exported_kernel_run_them_and_refuse_the_others():
    weight, bias = parameters(torch.float32, True)
    x, state = torch.randn(1, 6, 9), torch.randn(1, 6, 4)
    fn, update = hub_layers.causal_conv1d_fn(), hub_layers.causal_conv1d_update()
    torch.testing.assert_close(
        fn(x, weight, bias, "silu"), modelling.causal_conv1d_fn(x, weight, bias, "silu")
    )
    given = x[:, :, :1], weight, bias, "silu"
    expected = modelling.causal_conv1d_update(given[0], state.clone(), *given[1:])
    torch.testing.assert_close(update(given[0], state, *given[1:]), expected)
    for layer, name in ((fn, "causal_conv1d_fn"), (update, "causal_conv1d_update")):
        theirs = inspect.signature(getattr(modelling, name)).parameters.values()
        ours = inspect.signature(layer.forward).parameters.values()
        assert [(p.name, p.kind) for p in ours] == [(p.name, p.kind) for p in theirs]
    for call, says in (
        (lambda: fn(x, weight, seq_idx=torch.zeros(1, 9)), "None and seq_idx; this one runs"),
        (lambda: fn(x, weight, None, "gelu"), "activation 'gelu'"),
        (lambda: update(x.to("meta"), state, weight), "called on meta"),
    ):
        with pytest.raises(UnsupportedProblem, match=says):
            call()
