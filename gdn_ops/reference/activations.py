"""The norm and activations that a fused kernel applies to raw inputs, in plain PyTorch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def l2norm(x: Tensor, eps: float = 1e-6) -> Tensor:
    """Return x / sqrt(sum(x^2) + eps) over the last dim; see ``use_qk_l2norm_in_kernel``."""
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + eps)


def log_decay(a: Tensor, A_log: Tensor, dt_bias: Tensor | None = None) -> Tensor:
    """Return g = -exp(A_log) softplus(a + dt_bias) (arXiv 2405.21060); see ``use_gate_in_kernel``.

    Args:
        a: [B, T, HV] raw gate, or [B, T, HV, K] for one per key channel.
        A_log: [HV].
        dt_bias: [HV], or [HV, K] if ``a`` has one value per key channel; or None.

    Returns:
        The log decay, <= 0, in the shape of ``a`` and the widest dtype of the three.
    """
    if a.dim() == 4 and A_log.dim() == 1:
        A_log = A_log.unsqueeze(-1)
    x = a if dt_bias is None else a + dt_bias
    # PyTorch's default threshold of 20 neglects exp(-20), too much for float64.
    return -A_log.exp() * F.softplus(x, threshold=40.0)


def bounded_log_decay(
    a: Tensor, A_log: Tensor, dt_bias: Tensor | None, lower_bound: float
) -> Tensor:
    """Return g = lower_bound sigmoid(exp(A_log) (a + dt_bias)), KDA's gate with a lower bound.

    Args:
        a: [B, T, HV, K] raw gate.
        A_log: [HV]; zeros give lower_bound sigmoid(a + dt_bias).
        dt_bias: [HV, K] or None.
        lower_bound: the lowest log decay, < 0.

    Returns:
        The log decay, in [lower_bound, 0], in the shape of ``a`` and the widest dtype of the three.
    """
    x = a if dt_bias is None else a + dt_bias
    return lower_bound * torch.sigmoid(A_log.exp().unsqueeze(-1) * x)


def write_strength(b: Tensor, *, allow_neg_eigval: bool = False) -> Tensor:
    """Return beta = sigmoid(b); see ``use_beta_sigmoid_in_kernel``.

    ``allow_neg_eigval`` doubles it, so that I - beta k k^T may have a negative eigenvalue (arXiv
    2411.12537).
    """
    return torch.sigmoid(b) * 2 if allow_neg_eigval else torch.sigmoid(b)
