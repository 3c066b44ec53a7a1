"""The short convolution equals its formula, whole, packed and going on from a state."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F

from gdn_ops.layers import ShortConvolution


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
