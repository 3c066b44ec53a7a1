"""The short convolution equals its formula, whole, packed and going on from a state."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from gdn_ops.layers import ShortConvolution
from gdn_ops.ops import causal_convolution


def convolved(conv, x, history):
    """The convolution written out: token t of a sequence [T, D] behind ``history`` [W-1, D]."""
    taps = conv.weight[:, 0].T  # [W, D]
    seen = torch.cat([history, x])
    y = torch.stack([(seen[t : t + len(taps)] * taps).sum(0) for t in range(len(x))])
    return F.silu(y + conv.bias)


@torch.no_grad()
def test_short_convolution_equals_its_formula():
    torch.manual_seed(0)
    conv = ShortConvolution(6, 4, bias=True).double()
    x, state = torch.randn(1, 23, 6).double(), torch.randn(4, 6, 3).double()
    cu = [0, 2, 2, 9, 23]
    y, final = conv(x, state, torch.tensor(cu))
    for n, (s, e) in enumerate(pairwise(cu)):
        history = state[n].T
        if e > s:
            torch.testing.assert_close(y[0, s:e], convolved(conv, x[0, s:e], history))
            alone, alone_final = conv(x[:, s:e], state[n : n + 1])
            torch.testing.assert_close(alone[0], y[0, s:e])
            torch.testing.assert_close(alone_final[0], final[n])
        torch.testing.assert_close(final[n], torch.cat([history, x[0, s:e]])[-3:].T)
    zeros = torch.zeros(3, 6).double()
    torch.testing.assert_close(conv(x)[0][0], convolved(conv, x[0], zeros))
    torch.testing.assert_close(
        conv(x, None, torch.tensor([0, 2, 23]))[0][0, 2:], convolved(conv, x[0, 2:], zeros)
    )


def test_short_convolution_gradients_cross_no_boundary():
    torch.manual_seed(0)
    conv = ShortConvolution(3, 4).double()
    x = torch.randn(1, 9, 3).double().requires_grad_()
    state = torch.randn(2, 3, 3).double().requires_grad_()
    cu = torch.tensor([0, 4, 9])
    assert torch.autograd.gradcheck(lambda *a: conv(*a, cu), (x, state))
    (gradient,) = torch.autograd.grad(conv(x, state, cu)[0][:, 4:].sum(), x)
    assert gradient[:, :4].eq(0).all()


@pytest.mark.parametrize("taps", [1, 2, 4])
@pytest.mark.parametrize("tokens", [0, 1, 2, 3, 11])
@torch.no_grad()
def test_blocks_in_fp32_equal_the_convolution_of_the_library(monkeypatch, taps, tokens):
    """Blocks of one token, of two, and one block of all of them."""
    torch.manual_seed(0)
    for elements in (1, 24, 1000):
        monkeypatch.setattr(causal_convolution, "CACHED", elements)
        for bias in (True, False):
            conv = ShortConvolution(6, taps, bias=bias, silu=bias)
            x = torch.randn(2, 6, tokens).mT
            for state in (None, torch.randn(2, 6, taps - 1)):
                expected = conv.double()(x.double(), None if state is None else state.double())
                for y, reference in zip(conv.float()(x, state), expected, strict=True):
                    assert y.dtype == torch.float32
                    torch.testing.assert_close(y.double(), reference, rtol=1e-5, atol=1e-6)


def test_a_tangent_autocast_and_vmap_take_the_convolution_of_the_library():
    conv = ShortConvolution(6, 4).requires_grad_(False)
    x, tangent = torch.randn(2, 5, 6), torch.randn(2, 5, 6)
    _, actual = torch.func.jvp(lambda y: conv(y)[0], (x,), (tangent,))
    silu = conv.silu
    conv.silu = False
    _, linear = torch.func.jvp(lambda y: conv(y)[0], (x,), (tangent,))
    torch.testing.assert_close(linear, conv(tangent)[0])
    conv.silu = silu
    assert not torch.allclose(actual, linear)
    torch.testing.assert_close(torch.func.vmap(lambda y: conv(y[None])[0][0])(x), conv(x)[0])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert conv(x)[0].dtype == torch.bfloat16
