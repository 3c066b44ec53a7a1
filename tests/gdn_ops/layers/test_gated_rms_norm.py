"""The gated norm equals its formula and computes in float32."""

from __future__ import annotations

import torch

from gdn_ops.layers import GatedRMSNorm


def test_gated_rms_norm_equals_its_formula():
    torch.manual_seed(0)
    x, gate = torch.randn(2, 5, 8).double(), torch.randn(2, 5, 8).double()
    norm = GatedRMSNorm(8, eps=1e-3).double()
    norm.weight.data.normal_()
    plain = x / (x.square().mean(-1, keepdim=True) + 1e-3).sqrt() * norm.weight
    torch.testing.assert_close(norm(x), plain)
    torch.testing.assert_close(norm(x, gate), plain * gate / (1 + (-gate).exp()))
    norm.activation = "sigmoid"
    torch.testing.assert_close(norm(x, gate), plain / (1 + (-gate).exp()))


def test_gated_rms_norm_computes_wide():
    norm = GatedRMSNorm(64, eps=1e-5).bfloat16()
    x, gate = (300 * torch.randn(4, 64)).bfloat16(), torch.randn(4, 64).bfloat16()
    y = norm(x, gate)
    assert y.dtype == torch.bfloat16
    assert torch.equal(y, GatedRMSNorm(64, eps=1e-5)(x.float(), gate.float()).bfloat16())
